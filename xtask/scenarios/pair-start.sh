# First steps of the scenarios on two hosts.
#: alpha: joins the network
join

#: beta: joins the network
join
soon ping -c 1 -W 2 alpha

#: alpha: ssh in both directions
ssh beta hostname | grep -qx beta
ssh beta ssh alpha hostname | grep -qx alpha

#: alpha: both clocks are right
before=$(date +%s)
there=$(ssh beta date +%s)
after=$(date +%s)
test "$there" -ge $((before - 5))
test "$there" -le $((after + 5))

#: alpha: a disk for both hosts
share_disk
attach_disk
free_memory > /tmp/free

#: beta: the same disk
attach_disk
free_memory > /tmp/free

#: beta: listens
serve_echo

