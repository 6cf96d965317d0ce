# Ends every way of starting the program: becomes Node, running what was built. Wants $root and $node.
# shellcheck shell=sh

script=$root/dist/src/cli/start.cjs
front=${NETNS_ROOTLESS_NATIVE:-$root/native/build/Release}/launcher
if [ -x "$front" ]; then exec "$front" front "$node" "$script" "$@"; fi
# Not built, or not for this machine: Node runs far enough to say so.
exec "$node" "$script" "$@"
