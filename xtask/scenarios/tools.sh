#: info
xl info > /tmp/info
cat /tmp/info
grep -q '^xen_version *: 4\.17' /tmp/info
grep -q '^xen_caps *: .*xen-3.0-x86_64' /tmp/info
test "$(sed -n 's/^nr_cpus *: //p' /tmp/info)" = "$(sed -n 's/^max_cpu_id *: //p' /tmp/info | awk '{ print $1 + 1 }')"
test "$(sed -n 's/^free_memory *: //p' /tmp/info)" -gt 100

#: info with topology
xl info -n | grep -A2 '^cpu:'
xl info -n | grep -q '^numa_info'

#: dmesg, dmesg -c
xl dmesg > /tmp/dmesg
tail -n 3 /tmp/dmesg
test "$(grep -c . /tmp/dmesg)" -gt 5
xl dmesg -c > /tmp/cleared
test "$(stat -c %s /tmp/cleared)" -ge "$(stat -c %s /tmp/dmesg)"
xl dmesg > /tmp/dmesg
test "$(stat -c %s /tmp/dmesg)" -lt "$(stat -c %s /tmp/cleared)"

#: list
xl list | tee /tmp/list
grep -q '^Domain-0 *0 ' /tmp/list
xl list -l Domain-0 | grep -q '"domid": 0'

#: -N create
config web
xl -N create /tmp/web.cfg | tee /tmp/dry
grep -q '"name": "web"' /tmp/dry
gone web

#: create
config web "vcpus = 2" "maxvcpus = 2" "maxmem = 224" "vif = ['bridge=xenbr0']" "extra = 'console=hvc0 address=10.0.0.2/24'"
create web
xl list web

#: user space
up web

#: domid, domname
test "$(xl domname "$(xl domid web)")" = web

#: uptime
xl uptime web | tail -n 1 | grep -q '^web '

#: console
# It reads from a terminal only; Ctrl-] leaves it.
: > /tmp/console
(until grep -q con2sole /tmp/console; do echo 'echo con$((1 + 1))sole'; sleep 1; done; printf '\035') |
    script -qefc 'xl console web' /tmp/console

#: vcpu-list
xl vcpu-list web | tee /tmp/vcpus
test "$(grep -c '^web' /tmp/vcpus)" = 2

#: vcpu-set
ask web 'test $(nproc) = 2'
xl vcpu-set web 1
soon ask web 'test $(nproc) = 1'
xl vcpu-set web 2
soon ask web 'echo 1 > /sys/devices/system/cpu/cpu1/online; test $(nproc) = 2'

#: vcpu-pin
xl vcpu-pin web 0 1
xl vcpu-list web | tail -n 2
test "$(xl vcpu-list web | awk '$3 == 0 { print $7 }')" = 1
xl vcpu-pin web 0 all
xl vcpu-pin web 0 - 0
xl vcpu-list web | awk '$3 == 0' | grep -q '/ 0 *$'
xl vcpu-pin web all all all

#: sched-credit2
xl sched-credit2 | tee /tmp/credit
grep -q '^web .* 256 ' /tmp/credit
xl sched-credit2 -d web -w 512 -c 50
xl sched-credit2 -d web | tail -n 1 | grep -q ' 512 *50 *$'
xl sched-credit2 -d web -w 256 -c 0
xl sched-credit2 -s

#: cpupool-list
xl cpupool-list | tee /tmp/pools
grep -q '^Pool-0 .* credit2 ' /tmp/pools
xl cpupool-list -c | grep -q '^Pool-0 .*0,1'

#: mem-set
ask web 'grep MemTotal /proc/meminfo'
xl mem-set web 128
soon sh -c 'test "$(xl list web | tail -n 1 | awk "{ print \$3 }")" -le 130'
xl mem-set web 160
soon sh -c 'test "$(xl list web | tail -n 1 | awk "{ print \$3 }")" -ge 158'
ask web 'grep MemTotal /proc/meminfo'

#: mem-max
xl mem-max web 200
xl list -l web | grep max_memkb
fails xl mem-max web 8
xl mem-max web 224

#: pause, unpause
xl pause web
state web | grep -q '^--p'
xl unpause web
soon sh -c "xl list web | grep -q ' [r-][b-]----'"
ask web true

#: rename
xl rename web site
test "$(xl domname "$(xl domid site)")" = site
gone web
xl rename site web

#: network-list
xl network-list web | tee /tmp/vifs
test "$(grep -c . /tmp/vifs)" = 2
brctl show xenbr0 | grep -q "vif$(xl domid web).0"

#: network
soon ping -c 1 -W 2 10.0.0.2
ping -c 20 -i 0.01 -s 1400 -W 5 10.0.0.2 | tail -n 2
ask web 'ping -c 3 10.0.0.1'

#: network-attach, network-detach
xl network-attach web bridge=xenbr0 mac=00:16:3e:00:00:77
test "$(xl network-list web | grep -c .)" = 3
soon ask web 'ip link show eth1 | grep 00:16:3e:00:00:77'
xl network-detach web 1
soon sh -c 'test "$(xl network-list web | grep -c .)" = 2'
soon ask web '! ip link show eth1'

#: block-attach
truncate -s 32M /tmp/disk
xl block-attach web 'format=raw,vdev=xvdb,access=rw,target=/tmp/disk'
xl block-list web | tee /tmp/vbds
test "$(grep -c . /tmp/vbds)" = 2
soon ask web 'test -b /dev/xvdb'

#: block traffic
ask web 'dd if=/dev/urandom of=/dev/xvdb bs=1M count=32 && sync && echo 3 > /proc/sys/vm/drop_caches && md5sum /dev/xvdb'
sync
sum=$(md5sum < /tmp/disk | cut -d' ' -f1)
ask web 'md5sum /dev/xvdb' | grep "$sum"

#: block-detach
xl block-detach web xvdb
soon sh -c 'test "$(xl block-list web | grep -c .)" -le 1'
soon ask web '! test -b /dev/xvdb'
soon sh -c 'test -z "$(losetup -a)"'

#: sysrq
from=$(stat -c %s $consoles/guest-web.log)
xl sysrq web h
soon sh -c "tail -c +$from $consoles/guest-web.log | grep -q 'sysrq: HELP'"

#: trigger
ask web 'echo 7 > /proc/sys/kernel/printk'
xl trigger web nmi
ask web 'echo 1 > /proc/sys/kernel/printk; dmesg | grep "NMI received"'
# A PV guest has neither buttons nor ACPI states; xl reports that with status 0.
for trigger in power sleep reset s3resume; do
    xl trigger web $trigger 2>&1 | grep "Send trigger '$trigger' failed"
done
fails xl trigger web nonsense

#: debug-keys
xl dmesg -c > /dev/null
xl debug-keys h
xl dmesg | tee /tmp/dmesg
test "$(grep -c . /tmp/dmesg)" -gt 5

#: xentop
xentop -b -i 2 -d 1 | tee /tmp/top
grep -q 'Domain-0' /tmp/top
grep -q ' web ' /tmp/top

#: xenperf
perf=/usr/lib/xen-4.17/bin/xenperf
count() {
    sed -n "s/^$1 *T= *\([0-9]*\).*/\1/p" /tmp/perf
}
if is_paravane; then
    $perf | tee /tmp/perf
    test "$(count 'hypercalls in rust')" -gt 1000
    test "$(count 'entry updates')" -gt 1000
    before=$(count 'frames promoted')
    $perf -r
    $perf > /tmp/perf
    test "$(count 'frames promoted')" -lt "$before"
else
    # Debian's Xen is built without counters.
    fails $perf
fi

#: top
# It draws on a terminal until q is pressed.
(sleep 5; printf q) | TERM=vt100 script -qefc 'stty rows 24 cols 100; xl top' /tmp/screen > /tmp/top
tr '\033' '\n' < /tmp/screen | grep -q 'Domain-0'

#: xenstore-ls
xenstore-ls "/local/domain/$(xl domid web)" | tee /tmp/store
grep -q '^name = "web"' /tmp/store
grep -q '^ *state = "4"' /tmp/store

#: xen-diag
/usr/lib/xen-4.17/bin/xen-diag gnttab_query_size "$(xl domid web)"

#: dump-core
xl dump-core web /tmp/core
test "$(stat -c %s /tmp/core)" -gt $((100 * 1024 * 1024))
head -c 4 /tmp/core | grep -q ELF
rm /tmp/core
ask web true

#: save
xl block-attach web 'format=raw,vdev=xvdb,access=rw,target=/tmp/disk'
soon ask web 'test -b /dev/xvdb'
ask web 'echo written-$((6 * 7)) > /dev/xvdb; sync'
ask web 'echo kept-$((6 * 7)) > /tmp/mark; (while sleep 1; do date +%s > /tmp/tick; done &)'
xl save web /tmp/web.save
gone web
ls -l /tmp/web.save

#: restore
xl restore /tmp/web.save
soon ask web 'cat /tmp/mark' | grep kept-42
before=$(ask web 'cat /tmp/tick' | grep -o '^[0-9]*' | tail -n 1)
sleep 3
after=$(ask web 'cat /tmp/tick' | grep -o '^[0-9]*' | tail -n 1)
test "$after" -gt "$before"
ask web 'test "$(nproc)" = 2'
soon ping -c 1 -W 2 10.0.0.2
ask web 'echo 3 > /proc/sys/vm/drop_caches; head -n 1 /dev/xvdb' | grep written-42
ask web 'dd if=/dev/urandom of=/dev/xvdb bs=1M count=4; sync; echo 3 > /proc/sys/vm/drop_caches'
sum=$(head -c 4M /tmp/disk | md5sum | cut -d ' ' -f 1)
ask web 'head -c 4194304 /dev/xvdb | md5sum' | grep "$sum"
rm /tmp/web.save

#: pci-assignable-add refuses before the device is touched
# The SMBus controller of q35.
smbus=/sys/bus/pci/devices/0000:00:1f.3
modprobe i2c-i801
driver=$(readlink -f $smbus/driver)
test "$(basename "$driver")" = i801_smbus
if is_paravane; then
    cp /run/xtask/modprobe.conf /etc/modprobe.d/paravane.conf
    fails modprobe xen-pciback
    test ! -e /sys/bus/pci/drivers/pciback
fi
fails xl pci-assignable-add 00:1f.3
test "$(readlink -f $smbus/driver)" = "$driver"

#: pci-assignable-remove gives the device back where pciback is loaded all the same
if is_paravane; then
    rm /etc/modprobe.d/paravane.conf
    modprobe xen-pciback
    fails xl pci-assignable-add 00:1f.3
    xl pci-assignable-remove -r 00:1f.3
    test "$(basename "$(readlink -f /sys/bus/pci/devices/0000:00:1f.3/driver)")" = i801_smbus
    config passed "pci = ['00:1f.3']"
    fails xl create /tmp/passed.cfg
    gone passed
    test "$(basename "$(readlink -f /sys/bus/pci/devices/0000:00:1f.3/driver)")" = i801_smbus
    rmmod xen-pciback
fi

#: reboot
old=$(xl domid web)
rm -f $consoles/guest-web.log
xl reboot web
soon sh -c "test \"\$(xl domid web 2>/dev/null || echo $old)\" != $old"
up web

#: shutdown
xl shutdown -w web
soon gone web

#: save -c
config short
create short
up short
ask short 'echo kept-$((6 * 7)) > /tmp/mark'
fails xl save -c short /tmp/nowhere/short.save
xl save -c short /tmp/short.save
ask short 'cat /tmp/mark' | grep kept-42
rm /tmp/short.save

#: destroy
# The xl that watched the guest has exited with 'save -c', so nothing else would remove it.
xl destroy short
gone short

#: nothing is left
nothing_left
