# With xenstored instead of oxenstored, which Debian's script prefers.
#: xenstored
pgrep -x xenstored
fails pgrep -x oxenstored
test "$(xenstore-read domid)" = 0

#: create
config web "vif = ['bridge=xenbr0']" "extra = 'console=hvc0 address=10.0.0.2/24'"
create web
up web
xl list web

#: the guest's entries
xenstore-ls "/local/domain/$(xl domid web)" | grep -q '^name = "web"'
test "$(xenstore-read "/local/domain/$(xl domid web)/device/vif/0/state")" = 4
soon ping -c 1 -W 2 10.0.0.2

#: reboot
old=$(xl domid web)
rm -f $consoles/guest-web.log
xl reboot web
soon sh -c "test \"\$(xl domid web 2>/dev/null || echo $old)\" != $old"
up web

#: destroy
xl destroy web
nothing_left
