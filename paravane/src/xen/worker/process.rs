//! The worker's side.

use std::io::BufReader;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use libxen::{Interface, Precopy, Progress, Save, state};

use super::{Choice, Domain, Request, Said, Shutdown, listen, say};

/// Serves requests from the standard input until it is closed.
pub fn serve() -> Result<()> {
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mut control = Control(BufReader::new(UnixStream::from(input)));
    let interface = match Interface::open() {
        Ok(interface) => interface,
        Err(error) => {
            // The first request is answered with the reason.
            if control.request()?.is_some() {
                control.say(&Said::Failed(format!("the hypervisor cannot be reached: {error}")))?;
            }
            return Ok(());
        }
    };
    while let Some(request) = control.request()? {
        let said = control.answer(&interface, request);
        control.say(&said.unwrap_or_else(|error| Said::Failed(format!("{error:#}"))))?;
    }
    Ok(())
}

/// The socket.
struct Control(BufReader<UnixStream>);

impl Control {
    fn request(&mut self) -> Result<Option<Request>> {
        listen(&mut self.0)
    }

    fn say(&mut self, said: &Said) -> Result<()> {
        say(self.0.get_mut(), said)
    }

    fn answer(&mut self, interface: &Interface, request: Request) -> Result<Said> {
        match request {
            Request::Domain(id) => return Ok(Said::Domain(domain(interface, id)?)),
            Request::Unpause(id) => interface.unpause(id)?,
            Request::Resume(id) => interface.resume(id)?,
            Request::Claim(id, pages) => interface.claim(id, pages)?,
            Request::Save(id, live) => {
                let mut saving = Saving { control: self, interface };
                interface.save(id, std::io::stdout().as_fd(), live, &mut saving)?;
            }
            Request::Decide(_) | Request::Suspended(_) => bail!("nothing is being saved"),
        }
        Ok(Said::Done)
    }
}

/// A save in progress.
struct Saving<'a> {
    control: &'a mut Control,
    interface: &'a Interface,
}

impl Saving<'_> {
    /// Asks, and answers questions about domains until the answer comes.
    fn ask(&mut self, question: &Said) -> Result<Request> {
        self.control.say(question)?;
        loop {
            match self.control.request()?.context("nobody answers")? {
                request @ Request::Domain(_) => {
                    let said = self.control.answer(self.interface, request);
                    self.control.say(&said.unwrap_or_else(|error| Said::Failed(format!("{error:#}"))))?;
                }
                answer => return Ok(answer),
            }
        }
    }
}

impl Save for Saving<'_> {
    fn suspend(&mut self) -> bool {
        matches!(self.ask(&Said::Suspend), Ok(Request::Suspended(true)))
    }

    fn precopy(&mut self, progress: Progress) -> Precopy {
        match self.ask(&Said::Round(progress.round, progress.dirty)) {
            Ok(Request::Decide(Choice::Continue)) => Precopy::Continue,
            Ok(Request::Decide(Choice::Stop)) => Precopy::Stop,
            _ => Precopy::Abort,
        }
    }
}

fn domain(interface: &Interface, id: u32) -> Result<Option<Domain>> {
    let Some(info) = interface.domain(id)? else { return Ok(None) };
    let shutdown = state(&info).map(|shutdown| match shutdown {
        libxen::Shutdown::PowerOff => Shutdown::PowerOff,
        libxen::Shutdown::Reboot => Shutdown::Reboot,
        libxen::Shutdown::Suspend => Shutdown::Suspend,
        libxen::Shutdown::Crash => Shutdown::Crash,
        libxen::Shutdown::Other(_) => Shutdown::Other,
    });
    Ok(Some(Domain {
        is_paused: info.flags & abi::domctl::info_flags::PAUSED != 0,
        is_dying: info.flags & abi::domctl::info_flags::DYING != 0,
        shutdown,
        pages: info.total_pages,
        max_pages: info.max_pages,
        uuid: uuid(&info.handle),
    }))
}

/// A domain's handle as the tools write it.
fn uuid(handle: &[u8; 16]) -> String {
    let mut uuid = String::new();
    for (place, byte) in handle.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            uuid.push('-');
        }
        uuid += &format!("{byte:02x}");
    }
    uuid
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_uuid_is_written_as_the_tools_write_it() {
        let handle = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(super::uuid(&handle), "12345678-9abc-def0-0102-030405060708");
    }
}
