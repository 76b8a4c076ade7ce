#!/bin/sh
# Shuts the bridge down gracefully: new conferences are refused, and the process ends some time after the last participant
# left. Takes the arguments of the script of the same name that comes with Jitsi Videobridge:
#
#   -p PID   process to wait for; without it, the process that systemd runs as the service, or the one named causeway
#   -h URL   where the REST API is (http://localhost:8080)
#   -t SECS  how long the process may take after the last participant left, before it is killed (90: the configured delay
#            of one minute, and some)
#   -s       silent
#
# If the bridge has a token (videobridge.apis.rest.token), it is taken from CAUSEWAY_REST_TOKEN.
#
# Exit status: 0 = the bridge is gone; 1 = it could not be asked, or it would not go.
# The REST API must be on: videobridge.apis.rest.enabled and videobridge.rest.shutdown.enabled.

host=http://localhost:8080
timeout=90
pid=
silent=

say() {
    [ -n "$silent" ] || echo "$@"
}

fail() {
    echo "$@" >&2
    exit 1
}

while getopts p:h:t:s option; do
    case $option in
        p) pid=$OPTARG ;;
        h) host=$OPTARG ;;
        t) timeout=$OPTARG ;;
        s) silent=1 ;;
        *) fail "usage: $0 [-p pid] [-h url] [-t seconds] [-s]" ;;
    esac
done

case $timeout in
    '' | *[!0-9]*) fail "-t takes a number of seconds, not '$timeout'" ;;
esac

if [ -z "$pid" ] && command -v systemctl >/dev/null 2>&1; then
    pid=$(systemctl show --property=MainPID --value jitsi-videobridge2 2>/dev/null)
    [ "$pid" = 0 ] && pid=
fi
if [ -z "$pid" ]; then
    pid=$(pidof -s causeway)
fi
case $pid in
    '' | *[!0-9]*) fail "no process to wait for: is the bridge running? Otherwise name it with -p" ;;
esac
kill -0 "$pid" 2>/dev/null || [ -d "/proc/$pid" ] || fail "there is no process $pid"

gone() {
    # A process that ended but was not collected by its parent is gone as well.
    ! kill -0 "$pid" 2>/dev/null && [ ! -d "/proc/$pid" ] ||
        grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null
}

# Endpoints of this bridge, visitors included; nothing if it does not answer.
endpoints() {
    curl --silent --fail --max-time 10 "$host/colibri/stats" | tr ',{}' '\n\n\n' |
        awk -F: '/^"local_endpoints":[0-9]+$/ { print $2 }'
}

# By standard input: everybody may read the arguments of a process.
authorization() {
    [ -z "${CAUSEWAY_REST_TOKEN-}" ] || printf 'header = "Authorization: Bearer %s"\n' "$CAUSEWAY_REST_TOKEN"
}

status=$(authorization | curl --config - --silent --output /dev/null --write-out '%{http_code}' --max-time 10 \
    --header 'Content-Type: application/json' --data '{"graceful-shutdown": "true"}' "$host/colibri/shutdown")
[ "$status" = 200 ] || fail "the bridge refuses to shut down: HTTP status $status"
say "Graceful shutdown started"

while ! gone; do
    left=$(endpoints)
    [ -n "$left" ] || break
    [ "$left" -gt 0 ] || break
    say "There are still $left endpoints"
    sleep 10
done

say "Waiting up to $timeout s for the process to end"
waited=0
while ! gone; do
    if [ "$waited" -ge "$timeout" ]; then
        say "It did not end in time: killing it"
        kill "$pid" 2>/dev/null
        sleep 5
        gone || kill -9 "$pid" 2>/dev/null
        sleep 1
        gone || fail "process $pid can not be ended"
        break
    fi
    sleep 1
    waited=$((waited + 1))
done
say "The bridge is gone"
