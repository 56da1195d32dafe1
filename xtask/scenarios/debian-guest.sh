# A full Debian guest with its own disk, /dev/vda in the control domain.
keep=/root
mnt=/mnt

# described LINE...: its configuration, with these lines that select how it boots.
described() {
    {
        echo "name = 'debian'"
        echo "memory = 512"
        echo "vcpus = 2"
        echo "disk = ['phy:/dev/vda,xvda,w']"
        echo "vif = ['bridge=xenbr0']"
        for line in "$@"; do
            echo "$line"
        done
    } > /tmp/debian.cfg
}

# login: logs in, then starts a shell without line editing.
login() {
    soon grep -aq 'login: ' "$consoles/guest-debian.log"
    typed root
    soon grep -aq 'root@guest' "$consoles/guest-debian.log"
    typed 'exec sh'
    ask debian true
}

typed() {
    echo "$1" > "$(xenstore-read "/local/domain/$(xl domid debian)/console/tty")"
}

# number NAME: prints what the guest has written to a file of this name.
number() {
    ask debian "echo; cat $1" | grep -o '^[0-9a-f][0-9a-f]*' | tail -n 1
}

#: its kernel and ramdisk
free_memory > $keep/free
mount -o ro /dev/vda $mnt
cp -L $mnt/vmlinuz $mnt/initrd.img $keep
umount $mnt
ls -l $keep

#: create (600)
described "kernel = '$keep/vmlinuz'" "ramdisk = '$keep/initrd.img'" "extra = 'root=/dev/xvda ro console=hvc0'"
create debian

#: login (1800)
login
ask debian 'uname -a; cat /etc/debian_version; cat /proc/cmdline'
ask debian 'systemctl is-system-running --wait || { systemctl --failed --no-pager; false; }'
ask debian 'test "$(nproc)" = 2; findmnt -n -o SOURCE,FSTYPE / | grep "xvda *ext4"'
ask debian 'systemd-analyze time'

#: network (600)
soon ping -c 1 -W 2 10.0.0.2
ping -c 20 -i 0.1 -s 1400 -W 5 10.0.0.2 | tail -n 2
ask debian 'ping -c 3 10.0.0.1'

#: apt-get update, install (1800)
mkdir -p $keep/package/DEBIAN $keep/package/srv $keep/www
printf '%s\n' 'Package: payload' 'Version: 1' 'Architecture: all' 'Maintainer: nobody <nobody@localhost>' \
    'Description: a file' > $keep/package/DEBIAN/control
head -c 64M /dev/urandom > $keep/package/srv/payload
dpkg-deb -Znone --build $keep/package $keep/www/payload.deb
{
    dpkg-deb -f $keep/www/payload.deb
    echo "Filename: ./payload.deb"
    echo "Size: $(stat -c %s $keep/www/payload.deb)"
    echo "SHA256: $(sha256sum < $keep/www/payload.deb | cut -d' ' -f1)"
    awk 'BEGIN {
        for (number = 1; number <= 5000; number++)
            printf "\nPackage: other%d\nVersion: 1\nArchitecture: all\nDepends: payload\nDescription: a name\n" \
                "Filename: ./other%d.deb\nSize: 1\n", number, number
    }'
} > $keep/www/Packages
$here/busybox httpd -p 10.0.0.1:80 -h $keep/www
ask debian 'rm -rf /etc/apt/sources.list.d; echo "deb [trusted=yes] http://10.0.0.1/ ./" > /etc/apt/sources.list'
ask debian 'apt-get -q update && apt-get -q install --yes payload && apt-cache policy other4999'
ask debian 'md5sum < /srv/payload > /root/payload.sum'
test "$(number /root/payload.sum)" = "$(md5sum < $keep/package/srv/payload | cut -d' ' -f1)"

#: 1 GiB through the disk (3600)
ask debian 'head -c 1G /dev/urandom | tee /srv/large | md5sum > /root/large.sum'
ask debian 'sync; echo 3 > /proc/sys/vm/drop_caches; md5sum < /srv/large > /root/large.read'
number /root/large.sum | tee $keep/large.sum
test "$(number /root/large.read)" = "$(cat $keep/large.sum)"

#: 256 MiB over the network to the control domain (1800)
nc -l 10.0.0.1 5000 | md5sum > $keep/stream &
ask debian 'head -c 256M /srv/large | md5sum > /root/stream.sum; head -c 256M /srv/large | nc -N 10.0.0.1 5000'
wait
test "$(number /root/stream.sum)" = "$(cut -d' ' -f1 $keep/stream)"

#: 256 MiB over the network to the guest (1800)
head -c 256M /dev/urandom > $keep/stream
nc -l -N 10.0.0.1 5000 < $keep/stream > /tmp/nothing &
ask debian 'nc 10.0.0.1 5000 < /dev/null | md5sum > /root/stream.sum'
wait
test "$(number /root/stream.sum)" = "$(md5sum < $keep/stream | cut -d' ' -f1)"
rm $keep/stream

#: reboot (2400)
ask debian 'echo kept > /root/mark; cat /proc/sys/kernel/random/boot_id > /root/boot'
old=$(xl domid debian)
rm $consoles/guest-debian.log
xl reboot debian
soon sh -c "test \"\$(xl domid debian 2> /dev/null || echo $old)\" != $old"
login
ask debian 'grep kept /root/mark; ! cmp -s /root/boot /proc/sys/kernel/random/boot_id'
ask debian 'md5sum < /srv/payload > /root/payload.read && cmp /root/payload.sum /root/payload.read'

#: vcpu-set (600)
xl vcpu-set debian 1
soon ask debian 'test "$(nproc)" = 1'
xl vcpu-set debian 2
soon ask debian 'echo 1 > /sys/devices/system/cpu/cpu1/online; test "$(nproc)" = 2'
ask debian 'taskset -c 1 md5sum /vmlinuz && taskset -c 0 md5sum /vmlinuz'

#: mem-set down (600)
ask debian 'grep MemTotal /proc/meminfo'
before=$(free_memory)
xl mem-set debian 320
soon sh -c 'test "$(xl list debian | tail -n 1 | awk "{ print \$3 }")" -le 322'
test "$(free_memory)" -ge $((before + 180))
ask debian 'grep MemTotal /proc/meminfo; test "$(sed -n "s/^MemTotal: *\([0-9]*\) kB/\1/p" /proc/meminfo)" -lt 320000'

#: mem-set up (600)
xl mem-set debian 512
soon sh -c 'test "$(xl list debian | tail -n 1 | awk "{ print \$3 }")" -ge 510'
ask debian 'grep MemTotal /proc/meminfo; test "$(sed -n "s/^MemTotal: *\([0-9]*\) kB/\1/p" /proc/meminfo)" -gt 420000'

#: save, with work going on (900)
nc -l 10.0.0.1 5000 > $keep/ticks 2> /tmp/ticks.error < /dev/null &
ask debian 'cat > /root/work << "END"
round=0
while sum=$(head -c 64M /srv/large | md5sum); do
    echo 1 > /proc/sys/vm/drop_caches
    round=$((round + 1))
    echo "$sum" >> /root/sums
    echo $round > /root/round
done
END
rm -f /root/sums; setsid sh /root/work < /dev/null > /root/work.log 2>&1 &
echo $! > /root/worker'
ask debian '(while sleep 0.5; do date +%s; done) | setsid nc 10.0.0.1 5000 > /dev/null 2>&1 &
cat /proc/sys/kernel/random/boot_id > /root/boot'
soon ask debian 'test $(cat /root/round) -ge 2'
soon test -s $keep/ticks
xl save debian $keep/debian.save
gone debian
ls -l $keep/debian.save

#: restore (900)
stat -c %s $keep/ticks > $keep/ticks.before
xl restore $keep/debian.save
ask debian 'cmp /root/boot /proc/sys/kernel/random/boot_id; kill -0 $(cat /root/worker)'
before=$(number /root/round)
soon ask debian "test \$(cat /root/round) -ge $((before + 2))"
ask debian 'sort -u /root/sums; test "$(sort -u /root/sums | wc -l)" = 1'
soon ping -c 1 -W 2 10.0.0.2
# The connection has survived.
soon sh -c "test \$(stat -c %s $keep/ticks) -gt $(cat $keep/ticks.before)"
ask debian 'kill $(cat /root/worker); test "$(nproc)" = 2; cat /root/work.log; test ! -s /root/work.log'
rm $keep/debian.save
