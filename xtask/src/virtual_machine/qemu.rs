//! A QEMU process: the machine that it runs, and the child process. The child is killed when its
//! value is dropped, and when xtask is interrupted.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::foundation::size::Size;
use crate::virtual_machine::accelerator::Accelerator;
use crate::virtual_machine::emulator::{DEBUG_EXIT_PORT, QEMU};

/// QEMU argument that keeps a machine inspectable after it powers off.
pub(crate) const STAYS: &str = "-no-shutdown";

/// A boot module: a file in the machine's folder, and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    pub(crate) file: String,
    pub(crate) arguments: String,
}

/// A machine and what it boots.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) accelerator: Accelerator,
    pub(crate) cpu: String,
    pub(crate) cpus: u32,
    pub(crate) memory: Size,
    pub(crate) boot: Boot,
    /// The folder with the modules.
    pub(crate) folder: PathBuf,
    pub(crate) disks: Vec<Drive>,
    /// Additional QEMU arguments.
    pub(crate) arguments: Vec<String>,
}

/// Source of the first program.
#[derive(Clone, Debug)]
pub(crate) enum Boot {
    /// QEMU loads a Multiboot image or a Linux kernel.
    Loaded { kernel: PathBuf, append: String, modules: Vec<Module> },
    /// The firmware boots from the first disk: SeaBIOS, or the firmware in this file.
    Disk { firmware: Option<PathBuf> },
}

/// A disk with a raw image. The first is on an AHCI port, the others are virtio devices.
#[derive(Clone, Debug)]
pub(crate) struct Drive {
    /// A file in the machine's folder.
    pub(crate) file: String,
    /// Whether writes change the file.
    pub(crate) kept: bool,
}

/// The next event of a running machine.
#[derive(Debug)]
pub(crate) enum Event {
    /// Bytes from the serial line.
    Output(Vec<u8>),
    /// The deadline has passed.
    Timeout,
    /// QEMU has ended.
    Ended,
}

/// A running QEMU.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    output: Receiver<Vec<u8>>,
    input: Option<ChildStdin>,
    messages: Arc<Mutex<String>>,
    started: Instant,
}

/// Running child processes, for the signal handler.
static CHILDREN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Kills all running QEMU processes.
pub(crate) fn end_all() {
    for &id in CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            // It may have exited in the meantime.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Machine {
    /// Starts the machine. Its first serial port is connected to xtask.
    pub(crate) fn start(&self) -> Result<Running> {
        let mut command = self.command();
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot start {QEMU}"))?;
        CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).insert(child.id());
        let (sender, output) = mpsc::channel();
        if let Some(pipe) = child.stdout.take() {
            read_in_thread(pipe, move |bytes| sender.send(bytes.to_vec()).is_ok());
        }
        let messages = Arc::new(Mutex::new(String::new()));
        if let Some(pipe) = child.stderr.take() {
            let messages = Arc::clone(&messages);
            read_in_thread(pipe, move |bytes| {
                let text = String::from_utf8_lossy(bytes);
                messages.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
                true
            });
        }
        let input = child.stdin.take();
        Ok(Running { child, output, input, messages, started })
    }

    /// The command that starts the machine, in its folder, with pipes.
    fn command(&self) -> Command {
        let mut command = Command::new(QEMU);
        command
            .args(["-accel", self.accelerator.argument(self.cpus), "-cpu", &self.cpu])
            .args(["-smp", &self.cpus.to_string(), "-m", &format!("{}M", self.memory.in_mib())])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(["-chardev", "stdio,id=com1,signal=off", "-serial", "chardev:com1"]);
        // A machine that stays after power-off must not have a device that ends QEMU.
        if !self.arguments.iter().any(|argument| argument == STAYS) {
            command.args(["-device", &format!("isa-debug-exit,iobase={DEBUG_EXIT_PORT:#x},iosize=4")]);
        }
        self.boot.add_to(&mut command);
        if !self.disks.is_empty() {
            // This machine type has AHCI ports built in.
            command.args(["-machine", "q35"]);
        }
        for (number, disk) in self.disks.iter().enumerate() {
            disk.add_to(&mut command, number);
        }
        command.args(&self.arguments).current_dir(&self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Passes what is read from `pipe` to `take` until it returns false, in a thread of its own.
fn read_in_thread(mut pipe: impl Read + Send + 'static, mut take: impl FnMut(&[u8]) -> bool + Send + 'static) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            if !take(&buffer[..length]) {
                break;
            }
        }
    });
}

impl Boot {
    /// Adds the arguments for the first program.
    fn add_to(&self, command: &mut Command) {
        match self {
            Self::Loaded { kernel, append, modules } => {
                command.arg("-kernel").arg(kernel).args(["-append", append]);
                if !modules.is_empty() {
                    let modules: Vec<String> = modules.iter().map(Module::argument).collect();
                    command.args(["-initrd", &modules.join(",")]);
                }
            }
            Self::Disk { firmware: Some(firmware) } => {
                command.arg("-bios").arg(firmware);
            }
            Self::Disk { firmware: None } => {}
        }
    }
}

impl Drive {
    /// Adds the arguments for the disk of this number.
    fn add_to(&self, command: &mut Command, number: usize) {
        let snapshot = if self.kept { "off" } else { "on" };
        let file = &self.file;
        // A kernel probes AHCI ports in any order, virtio devices in the given order.
        let device = match number {
            0 => "ide-hd,drive=disk0,bus=ide.0".into(),
            _ => format!("virtio-blk-pci,drive=disk{number},iommu_platform=on,disable-legacy=on"),
        };
        command
            .arg("-drive")
            .arg(format!("file={file},format=raw,if=none,id=disk{number},snapshot={snapshot},discard=unmap"))
            .args(["-device", &device]);
    }
}

impl Module {
    /// The module in the format of QEMU's `-initrd`, where a comma separates modules and a doubled
    /// comma is a literal one.
    fn argument(&self) -> String {
        let separator = if self.arguments.is_empty() { "" } else { " " };
        format!("{}{separator}{}", self.file, self.arguments).replace(',', ",,")
    }
}

impl Running {
    /// Waits for the next event, at most until `deadline`.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Event> {
        match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => Ok(Event::Output(bytes)),
            Err(RecvTimeoutError::Timeout) => Ok(Event::Timeout),
            Err(RecvTimeoutError::Disconnected) => {
                self.child.wait()?;
                Ok(Event::Ended)
            }
        }
    }

    /// Collects serial output until it contains `text`, or without `text` until the machine is off.
    pub(crate) fn output(&mut self, text: Option<&str>, time: Duration) -> Result<String> {
        let deadline = Instant::now() + time;
        let mut output = Vec::new();
        loop {
            let so_far = String::from_utf8_lossy(&output);
            if text.is_some_and(|text| so_far.contains(text)) {
                return Ok(so_far.into_owned());
            }
            match self.next(deadline)? {
                Event::Output(bytes) => output.extend(bytes),
                Event::Timeout => bail!("still on after {} s: {}", time.as_secs(), self.messages()),
                Event::Ended if text.is_none() => return Ok(so_far.into_owned()),
                Event::Ended => bail!("the machine has ended: {}", self.messages()),
            }
        }
    }

    /// Ends the machine as a loss of power would.
    pub(crate) fn cut_power(&mut self) {
        // Both fail only if it has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The machine's serial input; only the first caller gets it.
    pub(crate) fn take_input(&mut self) -> Option<impl Write + Send + 'static> {
        self.input.take()
    }

    /// Time since QEMU was started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// QEMU's own messages, without those about CPU features that emulation lacks.
    pub(crate) fn messages(&self) -> String {
        let text = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> =
            text.lines().filter(|line| !line.contains("doesn't support requested feature")).collect();
        lines.join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cut_power();
        CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.child.id());
    }
}

/// Links the file at `path` to `folder/name`. Such names need no quoting in QEMU's arguments.
pub(crate) fn place(path: &Path, folder: &Path, name: &str) -> Result<()> {
    let absolute = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
    std::os::unix::fs::symlink(&absolute, folder.join(name))
        .with_context(|| format!("cannot link {} into {}", path.display(), folder.display()))
}

#[cfg(test)]
mod tests {
    use super::Module;

    #[test]
    fn commas_of_a_module_are_doubled() {
        let module = Module { file: "vmlinuz".into(), arguments: "guest -- a=1,2".into() };
        assert_eq!(module.argument(), "vmlinuz guest -- a=1,,2");
    }
}
