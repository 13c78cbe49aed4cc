"""The balancer's own software: `wcs-balancer-sync`, and `wcs-balancer` for operators.

The service polls the desired state (an SSM parameter: haproxy.cfg, the servers and the hash of the certificate under
one revision), fetches the certificate when its hash is new, checks everything with `haproxy -c` and brings HAProxy
there: servers come and go through the runtime API, a certificate is swapped in place, anything else is a reload that
keeps the servers' states. The same path at boot, at a change and at a renewal. When servers come and others go in one
change, those that go serve on until those that come are proven to be up.

What HAProxy refuses is not applied: the old state serves on and the status says why. The record of what is applied is
written last, so a run that is killed at any step is done again by the next. A server that leaves gets no new client
while any wanted one is up, and is removed when its last socket has ended in every worker, or at the drain time-out.

Where to find what (* pure functions):

service          the loop: one round a second, and what is published after it
desired_state    asks AWS
document *       what AWS answers, of this contract, an older or a newer one
apply            a wanted state: check, write, record, roll back
reconcile *      wanted, applied, running servers and changes: what has to be done
haproxy_plan *   haproxy.cfg and commands to HAProxy, as text
removed_servers  held servers, the drain, the last resort
last_resort *    whether servers are proven, or all down
changes *        which servers come and go
disk, files      what is in force, on disk
haproxy_runtime  HAProxy's sockets
haproxy_service  HAProxy as a service of systemd
node_states *    what HAProxy's statistics say of the nodes
status *         the snapshot, and the status made of it
server           the status over HTTP
command          `wcs-balancer`
places           paths, ports and names
errors           what goes wrong, in words
"""
