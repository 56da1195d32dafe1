# The command 'paravane': guests move to this host itself, through a command in place of ssh.

# paravane_migrate OPTION...: moves the guest 'web'.
paravane_migrate() {
    paravane migrate web localhost --transport "${transport:-exec paravane receive}" "$@"
}

# arrived FROM: checks that the guest has another domain than before, its name and its console.
arrived() {
    test "$(xl domid web)" != "$1"
    gone web--incoming
    # xenconsoled names the file after the guest's name at that time.
    ln -sf guest-web--incoming.log "$consoles/guest-web.log"
    continues
}

# stayed FROM: checks that the guest has the same domain as before.
stayed() {
    test "$(xl domid web)" = "$1"
    continues
}

# continues: checks that the guest runs where it was, with its network, and that nothing of a
# migration is left.
continues() {
    ask web 'grep kept /tmp/mark'
    soon ping -c 1 -W 2 10.0.0.2
    test -z "$(paravane migrate --list)"
    test -z "$(ls /var/lib/paravane/migrations)"
    soon sh -c 'test "$(xl list | grep -c .)" = 3'
}

# status NUMBER COMMAND...: checks the command's exit status.
status() {
    expected=$1
    shift
    found=0
    "$@" || found=$?
    test "$found" = "$expected"
}

# busy: lets the guest write memory and compare sums until /tmp/stop exists.
busy() {
    ask web 'rm -f /tmp/stop /tmp/stopped
(while [ ! -e /tmp/stop ]; do
    head -c 2097152 /dev/urandom > /tmp/data
    md5sum < /tmp/data > /tmp/sum
    md5sum < /tmp/data | cmp -s - /tmp/sum || touch /tmp/wrong
done
touch /tmp/stopped) > /dev/null 2>&1 < /dev/null &'
}

# unharmed: ends this work and checks it.
unharmed() {
    ask web 'touch /tmp/stop; until [ -e /tmp/stopped ]; do sleep 0.2; done; test ! -e /tmp/wrong; test "$(nproc)" = 2'
}

#: install
free_memory > /tmp/free
install -m 755 $here/paravane /usr/bin/paravane
paravane --version
paravane completion bash > /tmp/completion
# Ends the link when the target is ready, so that the answer to the permission to run is lost, and
# refuses further connections while /tmp/cut exists.
cat > /tmp/cutter << 'END'
import os, subprocess, sys
if os.path.exists("/tmp/cut"):
    sys.exit(1)
receiver = subprocess.Popen(["paravane", "receive"], stdout=subprocess.PIPE)
while data := receiver.stdout.read1(65536):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    if b'"ready"' in data:
        open("/tmp/cut", "w").close()
        # The permission is taken, and the answer is not passed on.
        receiver.stdout.read1(65536)
        break
END

#: create
truncate -s 32M /tmp/disk
config web "vcpus = 2" "disk = ['format=raw,vdev=xvda,access=rw,target=/tmp/disk']" "vif = ['bridge=xenbr0']" \
    "extra = 'console=hvc0 address=10.0.0.2/24'" "on_reboot = 'restart'"
create web
up web
ask web 'echo kept > /tmp/mark'

#: dry run
domid=$(xl domid web)
paravane_migrate --dry-run
paravane_migrate --dry-run --json | tee /tmp/checks
grep -q '"check":"processor","severity":"passed"' /tmp/checks
stayed "$domid"

#: move suspended (1200)
domid=$(xl domid web)
paravane_migrate --offline --json | tee /tmp/moved
grep -q '"event":"moved"' /tmp/moved
arrived "$domid"

#: move live (1200)
domid=$(xl domid web)
if is_paravane; then
    paravane_migrate --json | tee /tmp/moved
    grep -q '"event":"round","round":1' /tmp/moved
    arrived "$domid"
else
    status 1 paravane_migrate
    stayed "$domid"
fi

#: move live at work (1200)
if is_paravane; then
    busy
    domid=$(xl domid web)
    paravane_migrate --compress zstd --streams 2 --max-downtime 2000 --timeout 120 --on-timeout force --json |
        tee /tmp/moved
    unharmed
    arrived "$domid"
fi

#: refused: the name is taken
domid=$(xl domid web)
config web--incoming
create web--incoming
status 3 paravane_migrate
xl destroy web--incoming
rm -f $consoles/guest-web--incoming.log
soon gone web--incoming
stayed "$domid"

#: a timeout leaves the guest where it is
domid=$(xl domid web)
if is_paravane; then
    status 1 paravane_migrate --timeout 0
    stayed "$domid"
fi

#: the link breaks while the guest is suspended (1200)
domid=$(xl domid web)
transport='head -c 3000000 | paravane receive' status 1 paravane_migrate --offline
stayed "$domid"
pgrep -f 'paravane watch' | tee /tmp/watcher
test "$(grep -c . /tmp/watcher)" = 1

#: the guest is watched afterwards (1200)
domid=$(xl domid web)
xl reboot web
soon sh -c "xl domid web && test \"\$(xl domid web)\" != $domid"
rm -f $consoles/guest-web.log
soon ping -c 1 -W 2 10.0.0.2
tail -n 5 /var/log/xen/paravane-web.log
up web
ask web 'echo kept > /tmp/mark'

#: the answer is lost, and the target is asked again (1200)
domid=$(xl domid web)
rm -f /tmp/cut
(until [ -e /tmp/cut ]; do sleep 0.2; done; sleep 5; rm /tmp/cut) &
transport='exec python3 /tmp/cutter' paravane_migrate --offline --json | tee /tmp/moved
grep -q '"event":"resolved"' /tmp/moved
arrived "$domid"

#: the target cannot be asked (1200)
domid=$(xl domid web)
rm -f /tmp/cut
transport='exec python3 /tmp/cutter' status 4 paravane_migrate --offline
paravane migrate --list | tee /tmp/list
id=$(sed -n "s/ 'web' to .*//p" /tmp/list)
status 4 paravane migrate --resolve "$id"
paravane migrate --resolve "$id" --transport 'exec paravane receive'
arrived "$domid"

#: the source is killed while the guest is suspended (1200)
domid=$(xl domid web)
paravane_migrate --offline --bandwidth 1 --json > /tmp/killed &
soon grep -q '"event":"suspended"' /tmp/killed
sleep 2
kill -9 $!
wait $! || true
soon sh -c '! pgrep -f "paravane receive"'
id=$(paravane migrate --list | sed -n "s/ 'web' to .*//p")
status 1 paravane migrate --resolve "$id" --transport 'exec paravane receive'
stayed "$domid"

#: shutdown
xl shutdown -w web
soon gone web
soon sh -c '! pgrep -x paravane'

#: nothing is left
nothing_left
test "$(free_memory)" = "$(cat /tmp/free)"
