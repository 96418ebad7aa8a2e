#!/bin/sh
# The vendor's day on the command line: lock a model once, then answer each customer's request.
#
#   examples/vendor_day.sh lock MODEL FOLDER      makes FOLDER/model.locked and FOLDER/trust.jwks
#   examples/vendor_day.sh issue FOLDER           answers FOLDER/request.json with FOLDER/customer.lic
set -eu
export WEIGHTLOCK_VENDOR_HOME="${WEIGHTLOCK_VENDOR_HOME:-$HOME/acme-vendor}"

case "$1" in
lock)
    weightlock vendor init --name "Acme Vision"
    weightlock encrypt "$2" -o "$3/model.locked"
    cp "$WEIGHTLOCK_VENDOR_HOME/trust.jwks" "$3/"
    ;;
issue)
    weightlock inspect "$2/request.json"
    # --allow-no-gpu licenses the machine alone where it has no NVIDIA GPU; leave it out to insist on one.
    weightlock issue "$2/request.json" -m "$2/model.locked" --customer "Beta GmbH" --days 365 --allow-no-gpu \
        -o "$2/customer.lic"
    weightlock licenses
    ;;
esac
