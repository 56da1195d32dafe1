# The life of a guest with some work in it. 'cargo xtask compare' runs this on two hypervisors and
# compares the times.
#: info
xl info > /tmp/info
grep -q '^xen_caps *: .*xen-3.0-x86_64' /tmp/info
free_memory > /tmp/free

#: list
xl list | grep -q '^Domain-0 *0 '

#: create
truncate -s 32M /tmp/disk
config web "vcpus = 2" "disk = ['format=raw,vdev=xvda,access=rw,target=/tmp/disk']" "vif = ['bridge=xenbr0']" \
    "extra = 'console=hvc0 address=10.0.0.2/24'"
create web

#: boot to user space
up web

#: start 50 processes
ask web 'i=0; while [ $i -lt 50 ]; do /bin/true; i=$((i + 1)); done'

#: fill and sum 32 MiB of memory
ask web 'dd if=/dev/zero bs=1M count=32 of=/tmp/zeros && md5sum /tmp/zeros' | grep 58f06dd588d8ffb3beb46ada6309436b
ask web 'rm /tmp/zeros'

#: disk
ask web 'dd if=/dev/urandom bs=1M count=16 of=/dev/xvda && sync && echo 3 > /proc/sys/vm/drop_caches'
sync
sum=$(head -c 16M /tmp/disk | md5sum | cut -d ' ' -f 1)
ask web 'head -c 16777216 /dev/xvda | md5sum' | grep "$sum"

#: network
soon ping -c 1 -W 2 10.0.0.2
ping -q -c 50 -i 0.01 -s 1400 -W 5 10.0.0.2 | grep ' 0% packet loss'
ask web 'ping -c 3 10.0.0.1'

#: pause, unpause
xl pause web
state web | grep -q '^--p'
xl unpause web
ask web true

#: save
ask web 'echo kept-$((6 * 7)) > /tmp/mark'
xl save web /tmp/web.save
gone web

#: restore
xl restore /tmp/web.save
rm /tmp/web.save

#: continue where it was
ask web 'cat /tmp/mark' | grep kept-42
ask web 'test "$(nproc)" = 2'
ask web 'head -c 16777216 /dev/xvda | md5sum' | grep "$(head -c 16M /tmp/disk | md5sum | cut -d ' ' -f 1)"
soon ping -c 1 -W 2 10.0.0.2

#: shutdown
xl shutdown -w web
soon gone web

#: nothing is left
nothing_left
test "$(free_memory)" = "$(cat /tmp/free)"
