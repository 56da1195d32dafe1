# Prepended to each step of a scenario on two hosts, alpha (10.0.0.1) and beta (10.0.0.2). Its guest
# is called web.
save=/root/web.save

# join: connects this host to the other one, and starts the ssh server. It drops a client that has
# been silent for 20 seconds, as one without power is.
join() {
    printf '127.0.0.1 localhost\n10.0.0.1 alpha\n10.0.0.2 beta\n' > /etc/hosts
    modprobe virtio_net
    soon ip link set eth0 master xenbr0 up
    mkdir -p /run/sshd
    /usr/sbin/sshd -o ClientAliveInterval=2 -o ClientAliveCountMax=10
    # Most of a guest's memory is zero, and encryption is slow when emulated.
    echo 'Compression yes' > /etc/ssh/ssh_config.d/compression.conf
}

# share_disk: exports a disk with an empty file system, which both hosts attach.
share_disk() {
    truncate -s 32M /srv/shared.img
    mkfs.ext4 -q /srv/shared.img
    printf '%s\n' '[generic]' '[shared]' 'exportname = /srv/shared.img' > /tmp/nbd.conf
    nbd-server -C /tmp/nbd.conf
}

# attach_disk: makes the shared disk /dev/nbd0 of this host.
attach_disk() {
    modprobe nbd
    soon nbd-client -N shared alpha /dev/nbd0
    test "$(cat /sys/block/nbd0/ro)" = 0
}

# described WORDS [LINE...]: writes the guest's configuration, with these words on its kernel's
# command line. It is reached at 10.0.0.10, whichever host it runs on.
described() {
    words=$1
    shift
    config web "memory = 112" "vif = ['bridge=xenbr0']" \
        "extra = 'console=hvc0 initcall_blacklist=tracer_init_tracefs address=10.0.0.10/24 $words'" "$@"
}

# serve_echo: sends back what arrives on a connection to port 5000 of this host.
serve_echo() {
    mkfifo /tmp/echo
    (nc -l 5000 < /tmp/echo | cat > /tmp/echo) > /tmp/nc 2>&1 &
}

# work: makes the guest check its memory until it ends. 'start' adds other kinds of work:
# - disk fill FOLDER: writes new data to files, and checks those of the round before;
# - connection talk HOST: sends lines on a connection to port 5000 of this host, checks the echo.
# Each kind counts its rounds in /tmp/KIND.rounds; what goes wrong is in /tmp/wrong.
work() {
    ask web 'cat > /tmp/work << "END"
round() {
    rounds=$((rounds + 1))
    echo $rounds > /tmp/$kind.new
    mv /tmp/$kind.new /tmp/$kind.rounds
}
wrong() {
    echo "$kind, round $rounds: $*" >> /tmp/wrong
    exit 1
}
fill() {
    while :; do
        file=$1/data.$((rounds % 2))
        before=$1/data.$(((rounds + 1) % 2))
        head -c 524288 /dev/urandom | tee $file | md5sum > /tmp/$kind.sum.$((rounds % 2)) || wrong "cannot write"
        sync || wrong "cannot write"
        echo 3 > /proc/sys/vm/drop_caches
        [ $rounds = 0 ] || [ "$(md5sum < $before)" = "$(cat /tmp/$kind.sum.$(((rounds + 1) % 2)))" ] ||
            wrong "the data of the round before have changed"
        round
    done
}
talk() {
    padding=$(head -c 300 /dev/zero | tr "\0" =)
    mkfifo /tmp/said
    nc $1 5000 < /tmp/said | {
        while echo "$rounds$padding" && read -r line && [ "$line" = "$rounds$padding" ]; do
            round
            usleep 50000
        done
        wrong "the connection ended"
    } > /tmp/said
}
kind=$1
rounds=0
shift
"$@"
END'
    start memory fill /tmp
}

# start KIND WORD...
start() {
    ask web "setsid sh /tmp/work $* < /dev/null > /dev/null 2>&1 &
        until [ -e /tmp/$1.rounds ]; do usleep 200000; done"
}

# goes_on: checks that all work in the guest has gone on correctly, and still does. Three rounds
# are more than the rest of one, and one that begins and ends here.
goes_on() {
    ask web 'for file in /tmp/*.rounds; do
        before=$(cat $file)
        until [ $(cat $file) -ge $((before + 3)) ] || [ -e /tmp/wrong ]; do usleep 200000; done
        echo "$file: $before to $(cat $file)"
    done
    test ! -e /tmp/wrong || { cat /tmp/wrong; false; }'
}

# arrived: takes over the console of the guest, which was migrated to this host. xenconsoled has
# named its file after the name that the guest had on the way.
arrived() {
    ln -sf guest-web--incoming.log "$consoles/guest-web.log"
}

# receive_by_tcp: makes this host accept guests on port 6000, one at a time, and writes /tmp/by-tcp,
# which is for 'xl migrate -s'.
receive_by_tcp() {
    (while true; do $here/busybox nc -l -p 6000 -e xl migrate-receive; done) > /tmp/received 2>&1 &
    printf '#!/bin/sh\nexec nc "$1" 6000\n' > /tmp/by-tcp
    chmod +x /tmp/by-tcp
}
