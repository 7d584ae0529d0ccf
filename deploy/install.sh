#!/bin/sh
# install.sh PYTHON LOCK...: installs what the lock files name into that Python.
#
# The public index's torch for Linux brings 2.7 GB of CUDA. So torch comes from an index of CPU builds,
# TORCH_INDEX, and all else from the index that pip is set to; where TORCH_INDEX does not answer, torch
# does too. For a GPU name another index (.../whl/cu130), or none: TORCH_INDEX= .
set -eu
python=$1
shift
index=${TORCH_INDEX-https://download.pytorch.org/whl/cpu}
torch=$(cat "$@" | grep -m 1 '^torch==')
# Few tries: in a closed network the answer is to go on, soon.
if [ -n "$index" ] && ! "$python" -m pip install --quiet --no-deps --retries 1 --timeout 10 \
    --index-url "$index" "$torch"; then
    echo "TORCH_INDEX: $index has no $torch to give; taking it from the default index," \
        "whose build for Linux may bring CUDA (2.7 GB)" >&2
fi
set -- $(printf -- '--requirement %s ' "$@")
exec "$python" -m pip install --quiet "$@"
