# Live migration and checkpoints on one host, by the stock tools, of a guest that works meanwhile.

# moved COMMAND...: migrates the guest to this host; the words are options of 'xl migrate'. An empty
# command in place of ssh runs the receiver itself.
moved() {
    domid=$(xl domid web)
    xl migrate "$@" -s '' web 'xl migrate-receive'
    test "$(xl domid web)" != "$domid"
    # xenconsoled names the file after the guest's name at that time.
    ln -sf guest-web--incoming.log "$consoles/guest-web.log"
}

# at_work: lets the guest write to its disk and memory and keep a connection, until it is told to
# stop, and check what it reads.
at_work() {
    ask web 'cat > /tmp/work << "END"
#!/bin/sh
round=0
while [ ! -e /tmp/stop ]; do
    round=$((round + 1))
    dd if=/dev/urandom of=/tmp/data bs=64k count=16 2> /dev/null
    sum=$(md5sum < /tmp/data)
    dd if=/tmp/data of=/dev/xvda bs=64k seek=$((round % 8 * 16)) conv=fsync 2> /dev/null
    echo 3 > /proc/sys/vm/drop_caches
    found=$(dd if=/dev/xvda bs=64k skip=$((round % 8 * 16)) count=16 2> /dev/null | md5sum)
    test "$sum" = "$found" || echo "round $round: wrong sum" >> /tmp/wrong
    echo $round > /tmp/rounds
done
touch /tmp/stopped
END
    rm -f /tmp/stop /tmp/stopped /tmp/wrong
    (sh /tmp/work > /tmp/output 2>&1 < /dev/null &)'
    # One line each tenth of a second through a TCP connection, numbered by the guest.
    nc -l -p 7000 > /tmp/received &
    echo $! > /tmp/listener
    ask web '(i=0; while [ ! -e /tmp/stop ]; do i=$((i + 1)); echo $i; sleep 0.1; done | nc 10.0.0.1 7000 > /dev/null 2>&1 < /dev/null &)' || true
}

# well_done: ends the work and checks it.
well_done() {
    ask web 'touch /tmp/stop; until [ -e /tmp/stopped ]; do sleep 0.2; done; cat /tmp/rounds; test ! -e /tmp/wrong'
    ask web 'test "$(nproc)" = 2'

}

#: create
free_memory > /tmp/free
truncate -s 32M /tmp/disk
config web "vcpus = 2" "disk = ['format=raw,vdev=xvda,access=rw,target=/tmp/disk']" "vif = ['bridge=xenbr0']" \
    "extra = 'console=hvc0 address=10.0.0.2/24'"
create web
up web

#: checkpoint, and the guest continues
ask web 'echo kept > /tmp/mark'
xl save -c web /tmp/web.save
ask web 'grep kept /tmp/mark'
soon ping -c 1 -W 2 10.0.0.2

#: checkpoint, and the guest stays paused
xl save -p web /tmp/web.save
state web | grep -q '^--p'
xl unpause web
ask web 'grep kept /tmp/mark'

#: migrate idle
moved
ask web 'grep kept /tmp/mark'
soon ping -c 1 -W 2 10.0.0.2

#: migrate at work
at_work
moved
well_done

#: migrate and verify
at_work
moved --debug
well_done

#: shutdown
xl shutdown -w web
soon gone web
rm /tmp/web.save

#: nothing is left
nothing_left
test "$(free_memory)" = "$(cat /tmp/free)"
