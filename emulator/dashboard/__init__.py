"""Static files of the report page; everything third-party lies in `static/vendor/`."""
