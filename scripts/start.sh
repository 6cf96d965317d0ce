# Ends every way of starting the program: becomes Node, running what was built. Wants $root and $node.
# shellcheck shell=sh

# Node would load these certificates first of all, for some 30 ms, and we use no TLS. The command gets the variable back.
if [ -n "${NODE_EXTRA_CA_CERTS-}" ]; then
  export NETNS_ROOTLESS_EXTRA_CA_CERTS="$NODE_EXTRA_CA_CERTS"
  unset NODE_EXTRA_CA_CERTS
fi

exec "$node" "$root/dist/src/cli/start.cjs" "$@"
