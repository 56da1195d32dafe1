# Guests are created and end at bad moments. After each step the hypervisor holds for the control
# domain what it held before. An ending xenstored is not tested: the stock one cannot be restarted
# while domains that know it exist.
case $full in
    yes) rounds=200 several=20 ;;
    no) rounds=10 several=3 ;;
esac

# with_devices NAME: configures a guest with a disk and a network.
with_devices() {
    rm -f /tmp/disk
    truncate -s 64M /tmp/disk
    config "$1" "disk = ['format=raw,vdev=xvda,access=rw,target=/tmp/disk']" "vif = ['bridge=xenbr0']" \
        "extra = 'console=hvc0 address=10.0.0.2/24'"
}

# begin NAME COMMAND: starts it in the guest's shell without waiting.
begin() {
    echo "$2" > "$(terminal "$1")"
}

# disk_grows: whether the guest is writing to its disk.
disk_grows() {
    before=$(du -k /tmp/disk | cut -f 1)
    sleep 0.5
    test "$(du -k /tmp/disk | cut -f 1)" -gt "$before"
}

# busy_up: starts the guest 'busy' with both devices.
busy_up() {
    with_devices busy
    create busy
    up busy
}

# busy_answers: starts it, and checks that it answers on the network.
busy_answers() {
    soon ping -c 1 -W 2 10.0.0.2
}

# busy_writing: starts it, and waits until it writes to its disk.
busy_writing() {
    busy_up
    begin busy 'while true; do dd if=/dev/zero of=/dev/xvda bs=1M; done'
    soon disk_grows
}

as_before() {
    holdings > /tmp/after
    cmp -s /tmp/before /tmp/after
}

# all_is_back: waits until Linux has released the last guest's rings, which takes a moment.
all_is_back() {
    nothing_left
    for try in $(seq 60); do
        if as_before; then
            cat /tmp/after
            return
        fi
        sleep 1
    done
    diff /tmp/before /tmp/after
}

#: what is in use
# Run once with devices first, because the control domain never frees some of its memory.
with_devices first
create first
up first
xl destroy first
nothing_left
sleep 5
holdings | tee /tmp/before

#: created and destroyed, again and again (14400)
small round
for round in $(seq "$rounds"); do
    if [ $((round % 10)) = 0 ]; then
        create round
        up round
    else
        xl create -q -p /tmp/round.cfg
    fi
    xl destroy round
done
echo "$rounds rounds"
all_is_back

#: several at once (3600)
for number in $(seq "$several"); do
    small "guest$number"
    create "guest$number"
done
for number in $(seq "$several"); do
    up "guest$number"
    ask "guest$number" true
done
test "$(xl list | grep -c '^guest')" = "$several"
for number in $(seq "$several"); do
    xl destroy "guest$number"
done
echo "$several guests"
all_is_back

#: killed while it writes to its disk
busy_writing
xl destroy busy
all_is_back

#: killed in a flood of packets
busy_up
busy_answers
nc -l 10.0.0.1 5000 > /tmp/received &
netcat=$!
sleep 1
begin busy 'ping -A -q -s 1400 10.0.0.1 > /dev/null & dd if=/dev/zero bs=1M count=4096 | nc 10.0.0.1 5000'
ping -f -q -s 1400 10.0.0.2 > /dev/null &
ping=$!
soon test -s /tmp/received
xl destroy busy
kill $ping $netcat
rm /tmp/received
all_is_back

#: its disk's backend is taken away while it writes, and comes back
busy_writing
backend=vbd-$(xl domid busy)-51712
echo "$backend" > /sys/bus/xen-backend/drivers/vbd/unbind
sleep 2
# Without a driver nothing would close the device for xl.
echo "$backend" > /sys/bus/xen-backend/drivers/vbd/bind
xl destroy busy
all_is_back

#: its network's backend is taken away and comes back
busy_up
busy_answers
xl network-detach busy 0
soon ask busy '! ip link show eth0'
xl network-attach busy bridge=xenbr0
soon ask busy 'ip addr add 10.0.0.2/24 dev eth0 && ip link set eth0 up'
busy_answers
xl destroy busy
all_is_back

#: xenconsoled is killed and started again
small talker
create talker
up talker
kill -9 "$(cat /run/xenconsoled.pid)"
xenstore-rm "/local/domain/$(xl domid talker)/console/tty"
/usr/lib/xen-4.17/bin/xenconsoled --log=guest --pid-file=/run/xenconsoled.pid
soon xenstore-exists "/local/domain/$(xl domid talker)/console/tty"
ask talker 'echo back-$((6 * 7))' | grep back-42
xl destroy talker
all_is_back

#: destroyed while it boots (900)
for tenths in 0 3 8 15 30 60; do
    small early
    create early
    sleep "$((tenths / 10)).$((tenths % 10))"
    xl destroy early
done
all_is_back

#: more memory than there is
config large "memory = $(($(free_memory) + 256))"
fails xl create -q /tmp/large.cfg
all_is_back

#: the last of the memory
# Enough for the guest's pages, but perhaps not for all that is needed besides.
for less in 0 1 2 4; do
    config large "memory = $(($(free_memory) - less))"
    xl create -q -p /tmp/large.cfg && xl destroy large
done
all_is_back
