# A guest that is migrated between two hosts while it works. pair-start.sh comes before.
#: alpha: create
described disk=/dev/xvda "vcpus = 2" "disk = ['phy:/dev/nbd0,xvda,w']"
create web
up web

#: alpha: work
work
start connection talk 10.0.0.2
ask web 'grep -q " /mnt ext4 " /proc/mounts'
start disk fill /mnt
goes_on

#: alpha: migrate (1200)
xl migrate web beta
gone web

#: beta: continue where it was
arrived
goes_on
ask web 'test "$(nproc)" = 2'

#: alpha: the guest is reached where it is now
soon ping -c 1 -W 2 10.0.0.10

#: beta: migrate back (1200)
xl migrate web alpha
gone web

#: alpha: continue where it was, again
arrived
goes_on

#: alpha: migrate localhost (1200)
domid=$(xl domid web)
xl migrate web localhost
test "$(xl domid web)" != "$domid"
goes_on

#: beta: receives by TCP
receive_by_tcp

#: alpha: receives by TCP
receive_by_tcp

#: alpha: migrate -s, there and back (40000)
rounds=1
test $full = no || rounds=25
for round in $(seq $rounds); do
    xl migrate -s /tmp/by-tcp web beta
    gone web
    ssh beta xl migrate -s /tmp/by-tcp web alpha
    goes_on
    echo "round $round of $rounds"
done

#: alpha: shutdown
xl shutdown -w web
soon gone web

#: alpha: nothing is left
nothing_left
test "$(free_memory)" = "$(cat /tmp/free)"

#: beta: nothing is left
nothing_left
test "$(free_memory)" = "$(cat /tmp/free)"
