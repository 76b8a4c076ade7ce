#!/bin/sh
# Starts the bridge where service files and scripts expect that of Jitsi Videobridge. JAVA_SYS_PROPS names the configuration.
exec /usr/bin/causeway "$@"
