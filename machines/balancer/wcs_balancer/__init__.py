"""The balancer's own software: `wcs-balancer-sync`, and `wcs-balancer` for operators.

The service polls the desired state (an SSM parameter: haproxy.cfg, the servers and the hashes of two certificates under
one revision). It fetches a certificate when its hash is new, checks everything with `haproxy -c`, and applies it.
Servers are added and removed through the runtime API, and a certificate is replaced in place. For any other change
HAProxy reloads, and the servers keep their states. Boot, change and renewal take the same path. When one change adds
and removes servers, the removed servers serve until the new servers are proven.

The status has its own certificate. With it HAProxy serves only the status until a state is applied, so an operator can
read why a new machine does not serve.

If HAProxy refuses a state, the old state stays in force and the status says why. The record of the applied state is
written last: if a run is killed at any step, the next run does it again. A removed server gets no new clients while any
wanted server is up. It is deleted when its last socket has ended in every worker, or at the drain time-out.

With ACME the balancers get the clients' certificate themselves. Each of them answers challenges, one of them orders,
and all read the result in an SSM parameter. The document names only the directory.

Where to find what (* pure functions):

service             the loop: one round a second, and a snapshot after each round
aws                 boto3
desired_state       asks AWS for the desired state
document *          AWS's answer, of this contract or another one
apply               applies a wanted state: checks it, carries it out, rolls back
steps               the steps of each change, and their order
reconcile *         compares wanted, applied and running servers, and decides what to do
haproxy_plan *      haproxy.cfg and commands to HAProxy, as text
removed_servers     held servers, the drain, the last resort
last_resort *       whether servers are proven, or all down
changes *           which servers are new and which are removed
disk, files         the applied state on disk
haproxy_runtime     HAProxy's sockets
haproxy_service     HAProxy as a service of systemd
hand_over           closes clients' WebSockets and refuses new ones, while another balancer takes over
client_paths        clients' ways to this machine: the load balancer, and its own address
leaving *           in which phases a way is given up
targets             this machine as a target of the load balancer
peers, cluster      the other balancers, and the statuses of all
instance            the instance id of this machine
node_states *       the nodes' states in HAProxy's statistics
set_up *            the progress of a machine's set-up
status *            the snapshot, and the status made of it
acme                orders certificates from an ACME directory, in a thread of its own
acme_order          one order, by python3-acme
acme_connections    the connections to the directory, which are cut at a deadline
acme_map            HAProxy's map with the answer to challenges
acme_serving        what HAProxy and the status show of it
renewal *           the ledger of orders: which balancer orders, and when
reachable           checks before an order whether DNS leads to the balancers
certificates        whether a certificate can be used
trust               whether browsers trust it
status_certificate  the certificate and the token of the status
server              the status over HTTP
watchdog            tells systemd that the loop goes on and the status answers
command             `wcs-balancer`
places              paths, ports and names
errors              errors, and their text for an operator
"""
