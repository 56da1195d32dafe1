# A guest whose five disks have four queues each. All queues are full at the same time, because each
# request takes a tenth of a second. The backend keeps up to 1056 grants of each queue mapped, 21120
# in all.
disks='a b c d e'

# on_each_queue COMMAND: runs it in the guest on each vCPU for each disk, all at the same time, with
# the disk's letter as $1 and the vCPU as $2. Each vCPU has a queue of its own.
on_each_queue() {
    ask busy "pids=
for disk in $disks; do
    for cpu in 0 1 2 3; do
        taskset -c \$cpu sh -ec '$1' sh \$disk \$cpu & pids=\"\$pids \$!\"
    done
done
for pid in \$pids; do wait \$pid; done"
}

# mapped: prints how many grants of guests the control domain has mapped.
mapped() {
    holdings | sed -n 's/^d0: .* \([0-9]*\) grants mapped$/\1/p'
}

#: a guest with five disks (1200)
device_scripts
modprobe null_blk nr_devices=5 gb=1 bs=512 memory_backed=1 submit_queues=4 hw_queue_depth=128 irqmode=2 \
    completion_nsec=100000000
list=
number=0
for disk in $disks; do
    list="$list'format=raw,vdev=xvd$disk,access=rw,script=/tmp/block,target=/dev/nullb$number', "
    number=$((number + 1))
done
config busy "memory = 1024" "vcpus = 4" "disk = [$list]"
create busy
up busy
ask busy 'test "$(nproc)" = 4; test "$(ls -d /sys/block/xvd*/mq/* | grep -c .)" = 20'

#: all of their queues are written at the same time (1200)
ask busy "for disk in $disks; do dd if=/dev/urandom of=/tmp/data\$disk bs=8M count=4 iflag=fullblock; done"
# 8 MiB are twice as much as a queue has room for.
on_each_queue 'dd if=/tmp/data$1 of=/dev/xvd$1 bs=8M count=1 skip=$2 seek=$2 oflag=direct'
echo "$(mapped) grants mapped by the control domain" | tee /tmp/mapped

#: all of them are read at the same time, and have what was written (1200)
on_each_queue 'dd if=/dev/xvd$1 of=/tmp/read$1$2 bs=8M count=1 skip=$2 iflag=direct'
echo "$(mapped) grants mapped by the control domain" | tee -a /tmp/mapped
number=0
for disk in $disks; do
    sum=$(dd if=/dev/nullb$number bs=8M count=4 iflag=direct | md5sum | cut -d ' ' -f 1)
    ask busy "md5sum < /tmp/data$disk" | grep "$sum"
    ask busy "cat /tmp/read$disk? | md5sum" | grep "$sum"
    number=$((number + 1))
done

#: no grant was refused
cat /tmp/mapped
if is_paravane; then
    test "$(sort -n /tmp/mapped | tail -n 1 | cut -d ' ' -f 1)" -gt 16384
fi
nothing_refused
ask busy 'dmesg | grep -i "i/o error" && exit 1; true'

#: it goes
xl destroy busy
nothing_left
