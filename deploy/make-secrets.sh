#!/bin/sh
# Makes the secrets that can be made, below ./secrets, and names those that only you can write.
# Run it as root, as often as you like: what is there stays as it is.
#
#   secrets/relayer/           what the relayer reads, for its user (10001) alone
#   secrets/redis.acl          Redis' users; the relayer's password only as a hash
#   secrets/grafana-password   of Grafana's user admin
#
# The keystore's new key is made by the image `relayer`, or by what RELAYER names.
set -eu
umask 077
cd "$(dirname "$0")"
[ "$(id -u)" = 0 ] || { echo "run it as root: the files are for the containers' users" >&2; exit 1; }
mkdir -p secrets/relayer
: "${RELAYER:=docker run --rm --network=none --user=0 --volume=$PWD/secrets/relayer:/s --workdir=/s relayer}"

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
once() { [ -s "$1" ] || random > "$1"; }

once secrets/relayer/operator-token
once secrets/relayer/webhook-secret
once secrets/relayer/keystore-password
once secrets/grafana-password
if ! [ -s secrets/relayer/redis-url ] || ! [ -s secrets/redis.acl ]; then
  password=$(random)
  hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
  # Whoever has no password may ask whether Redis lives, and nothing else.
  {
    echo "user default on nopass resetkeys resetchannels -@all +ping"
    echo "user relayer on #$hash allkeys resetchannels +@all -@admin -@dangerous +info"
  } > secrets/redis.acl
  echo "redis://relayer:$password@redis:6379/0" > secrets/relayer/redis-url
fi
if ! [ -s secrets/relayer/keystore.json ]; then
  made=$(cd secrets/relayer && $RELAYER keys create --out keystore.json --password-file keystore-password)
  echo "$made" | sed -n 1p # the rest says how to name the key, which config/relayer.yaml does already
fi

# Docker mounts the two files one by one, so their own modes must let other users read; the folder keeps
# everybody else on this machine out.
chmod 700 secrets
chmod 444 secrets/redis.acl secrets/grafana-password
chown -R 10001:10001 secrets/relayer
find secrets/relayer -type f -exec chmod 400 {} +

grep -o '^[^#]*/run/secrets/relayer/[a-z.-]*' config/relayer.yaml | sed 's|.*/||' | sort -u |
  while read -r name; do
    [ -s "secrets/relayer/$name" ] || echo "secrets/relayer/$name is yours to write"
  done
