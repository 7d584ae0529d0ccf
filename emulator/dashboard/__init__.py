"""The pages: their shell, their drawings, and the static files inside them.

Everything third-party lies in `static/vendor/`.
"""
