# A guest that is saved on one host and restored on the other. pair-start.sh comes before.
#: alpha: create
described disk=/dev/xvda "disk = ['phy:/dev/nbd0,xvda,w']"
create web
up web

#: alpha: work
work
start connection talk 10.0.0.2
ask web 'grep -q " /mnt ext4 " /proc/mounts'
start disk fill /mnt
goes_on

#: alpha: save
xl save web $save
gone web

#: alpha: copy (900)
ssh beta "cat > $save" < $save
rm $save

#: beta: restore
xl restore $save
rm $save

#: beta: continue where it was
goes_on
soon ping -c 1 -W 2 10.0.0.10

#: alpha: the guest is reached where it is now
soon ping -c 1 -W 2 10.0.0.10

#: beta: save
xl save web $save
gone web

#: beta: copy (900)
ssh alpha "cat > $save" < $save
rm $save

#: alpha: restore
xl restore $save
rm $save

#: alpha: continue where it was, again
goes_on

#: alpha: save -c
xl save -c web $save
goes_on

#: alpha: save -p
xl save -p web $save
state web | grep -q '^--p'
xl unpause web
goes_on
rm $save

#: alpha: destroy
# The xl that watched the guest has exited with 'save -c'.
xl destroy web
gone web

#: alpha: nothing is left
nothing_left
test "$(free_memory)" = "$(cat /tmp/free)"

#: beta: nothing is left
nothing_left
test "$(free_memory)" = "$(cat /tmp/free)"
