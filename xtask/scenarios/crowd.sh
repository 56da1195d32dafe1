# Many small guests at once, each with a disk and a network of the control domain. Nothing fails for
# lack of a table. The long form has as many as a host with 8 GiB is meant for.
case $full in
    yes) crowd=300 ;;
    no) crowd=20 ;;
esac
lanes=2 memory=8

# lane FIRST COMMAND...: runs the command with each guest's number that is in this lane.
lane() {
    first=$1
    shift
    for number in $(seq "$first" "$lanes" "$crowd"); do
        "$@" "$number"
    done
}

# each COMMAND...: runs it with each guest's number, some at the same time.
each() {
    begun=$(date +%s)
    pids=
    for first in $(seq "$lanes"); do
        lane "$first" "$@" &
        pids="$pids $!"
    done
    for pid in $pids; do
        wait "$pid"
    done
    echo "$crowd guests in $(($(date +%s) - begun)) s"
}

# begin NUMBER: starts a guest.
begin() {
    config "member$1" "kernel = '$here/crowd'" "ramdisk = ''" "memory = $memory" \
        "disk = ['format=raw,vdev=xvda,access=rw,script=/tmp/block,target=/dev/ram$1']" \
        "vif = ['bridge=xenbr0,script=/tmp/vif']"
    # libxl allows a backend ten seconds: too short on an emulated host with hundreds of guests.
    xl create -q -e "/tmp/member$1.cfg" || {
        echo "member$1 comes again"
        xl create -q -e "/tmp/member$1.cfg"
    }
    if [ $(($1 % 50)) = 0 ]; then
        echo "$1 guests after $(($(date +%s) - begun)) s"
        in_use
    fi
}

end() {
    xl destroy "member$1"
}

# in_use: prints what the crowd has of the tables that have limits.
in_use() {
    holdings | grep -v '^d[1-9]'
    xl dmesg | sed -n 's/^(pv) \(.*heap in use\)$/\1/p'
    awk '/MemAvailable/ { print "available memory of the control domain: " int($2 / 1024) " MiB" }' /proc/meminfo
}

# frames_free: prints the hypervisor's free frames.
frames_free() {
    holdings | sed -n 's/^\([0-9]*\) of .* frames free$/\1/p'
}

# all_work: whether all have read their disk and sent a packet, by the back ends' counters.
all_work() {
    test "$(work_done | grep -vc ' 0$')" = $((2 * crowd))
}

# work_done: prints for each disk and network how much it has done.
work_done() {
    for counter in /sys/bus/xen-backend/devices/vbd-*/statistics/rd_req /sys/class/net/vif*/statistics/rx_packets; do
        read -r value < "$counter"
        echo "$counter $value"
    done
}

# all_continue: whether each disk and network has done more than what is in /tmp/work.
all_continue() {
    work_done > /tmp/later
    test "$(cat /tmp/work /tmp/later | sort -u | grep -c .)" = $((4 * crowd))
}

# connected: prints how many ends of disks and networks in this part of the store are connected.
connected() {
    xenstore-ls -f "$1" | grep -cE '/(vbd|vif)(/[0-9]*)*/state = "4"$'
}

#: devices for all
device_scripts
modprobe brd rd_nr=$((crowd + 1)) rd_size=64
in_use
frames_free > /tmp/free

#: they come (36000)
each begin
nothing_refused

#: all of them have a disk and a network (3600)
for attempt in $(seq 120); do
    all_work && break
    sleep 5
done
work_done | grep ' 0$' | head -n 5 || true
all_work
test "$(xl list | grep -c '^member')" = "$crowd"
test "$(connected /local/domain/0/backend)" = $((2 * crowd))
test "$(connected /local/domain)" = $((4 * crowd))
in_use
taken=$((($(cat /tmp/free) - $(frames_free)) * 4))
echo "$crowd guests, each $((taken / crowd - memory * 1024)) KiB outside its own memory of $memory MiB"
nothing_refused

#: all of them continue to work (3600)
work_done > /tmp/work
soon all_continue
nothing_refused

#: they go (14400)
each end
nothing_left
in_use
