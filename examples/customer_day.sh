#!/bin/sh
# The customer's day on the command line, on the GPU box: ask once, then run, offline.
#
#   examples/customer_day.sh ask FOLDER           makes FOLDER/request.json, which goes to the vendor
#   examples/customer_day.sh run FOLDER           runs FOLDER/model.locked on FOLDER/input.npz
set -eu
export WEIGHTLOCK_HOME="${WEIGHTLOCK_HOME:-$HOME/weightlock}"

case "$1" in
ask)
    weightlock request -o "$2/request.json"
    ;;
run)
    weightlock status "$2/customer.lic" --trust "$2/trust.jwks"
    weightlock run "$2/model.locked" --license "$2/customer.lic" --trust "$2/trust.jwks" \
        --input "$2/input.npz" --output "$2/output.npz"
    ;;
esac
