#!/bin/sh
# Send a file to an sftpgate server, wait until its receipt says what became of it, and exit by that.
#
#   send-and-wait.sh FILE NAME USER@HOST [options of sftp, such as -P 2222 -i erp_key]
#
# Exit status: 0 taken by its tool, 1 it could not be sent or asked for, 2 wrong arguments, 3 correct it, 4 send it again,
# 5 ask the server's people, 6 nothing was said in time, 7 the receipt is not signed by a key of RECEIPT_SIGNERS.
# RECEIPT_TIMEOUT: seconds to wait (3600). RECEIPT_SIGNERS: what `sftpgate hostkey show --allowed-signers` prints, in a file.
# Needs OpenSSH's sftp and, for signatures, its ssh-keygen. NAME has no quotation marks, backslashes or wildcards.
set -eu
[ $# -ge 3 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
file=$1 name=$2 host=$3
shift 3
timeout=${RECEIPT_TIMEOUT:-3600} signers=${RECEIPT_SIGNERS:-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

directory=$(dirname "/receipts/$name")

sftp_do() { command=$1; shift; printf '%s\n' "$command" | sftp -q -b - "$@" >/dev/null 2>"$scratch/error"; }
# The server writes one member on a line, those of the receipt itself behind one blank.
member() { sed -n "s/^ \"$1\": \"\{0,1\}\([^\"]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$scratch/receipt"; }
text() { sed -n 's/^  "en": "\(.*\)",\{0,1\}$/\1/p' "$scratch/receipt" | head -n 1; }

get_receipt() { rm -f "$scratch/receipt"; sftp_do "get \"/receipts/$name.json\" \"$scratch/receipt\"" "$@" "$host"; }

before=''
if get_receipt "$@"; then before=$(member arrival); fi
sftp_do "put \"$file\" \"$name\"" "$@" "$host" || { cat "$scratch/error" >&2; exit 1; }
sum=$(sha256sum <"$file" | cut -d ' ' -f 1)

waited=0 pause=1
while :; do
    if get_receipt "$@" && [ "$(member arrival)" != "$before" ] && [ "$(member sha256)" = "$sum" ]; then
        action=$(member action)
        if [ "$(member final)" = true ] || [ "$action" != wait ]; then break; fi
    fi
    if [ "$waited" -ge "$timeout" ]; then echo "$name: no outcome within $timeout seconds" >&2; exit 6; fi
    sleep "$pause"
    waited=$((waited + pause))
    if [ "$pause" -lt 15 ]; then pause=$((pause + 1)); fi
done

if [ -n "$signers" ]; then
    sftp_do "get \"$directory/$(member receipt).sig\" \"$scratch/signature\"" "$@" "$host" || { cat "$scratch/error" >&2; exit 1; }
    ssh-keygen -Y verify -f "$signers" -I sftpgate -n sftpgate-receipt -s "$scratch/signature" <"$scratch/receipt" >/dev/null 2>&1 ||
        { echo "$name: the receipt is not signed by a key of $signers" >&2; exit 7; }
fi

echo "$name: $(member state) ($(member code)): $(text)"
case $action in
none) exit 0 ;;
fix) exit 3 ;;
resend) exit 4 ;;
*) exit 5 ;;
esac
