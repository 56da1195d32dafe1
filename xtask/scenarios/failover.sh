# A guest that continues when its host loses its power. pair-start.sh comes before.
#: alpha: create
described ''
create web
up web

#: alpha: work
work
goes_on

#: alpha: remus (1800)
setsid xl remus -F -n -d -i 1000 web beta > /tmp/remus 2>&1 < /dev/null &
# The guest is suspended for the end of the first copy, and for each checkpoint after the one
# before has arrived.
soon ask web 'test $(dmesg | grep -c "Freezing user space processes") -ge 6'
goes_on

#! alpha

#: beta: the guest continues (600)
soon xl domid web
arrived
goes_on
soon ping -c 1 -W 2 10.0.0.10
xl destroy web
nothing_left
