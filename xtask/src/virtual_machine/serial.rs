//! The serial line taken apart: whose line it is, and for an interactive guest its bytes as they
//! come.

/// Who wrote a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The hypervisor's own log.
    Host,
    /// A guest's console, multiplexed behind its name.
    Guest(String),
    /// Neither: a console that has the line to itself, or the firmware.
    Plain,
}

/// A piece of what arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A whole line without its end.
    Line(Source, String),
    /// Bytes of a console that is passed through.
    Bytes(Vec<u8>),
}

/// What the hypervisors put before each line of their own.
const HOST_MARKS: [&str; 2] = ["(pv) ", "(XEN) "];

/// What the ramdisk puts before each line that is meant for us.
pub(crate) const RUN_MARK: &str = "@run ";

/// A line longer than this is cut: nothing that is read here needs more.
const LONGEST: usize = 64 * 1024;

/// Takes the bytes of a serial line apart.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    /// Bytes outside the marked lines are passed through.
    passing: bool,
    /// The rest of the current line has been found to be passed through.
    inside: bool,
}

impl Decoder {
    /// From now on hands out the console's bytes as they come, save for lines of the hypervisor and
    /// of the ramdisk.
    pub(crate) fn pass_through(&mut self) {
        self.passing = true;
    }

    /// Adds what has arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for &byte in bytes {
            self.line.push(byte);
            if byte == b'\n' {
                self.finish(&mut pieces);
            } else if self.passing && !self.inside {
                self.inside = !may_be_marked(&self.line);
            }
            if self.line.len() >= LONGEST {
                self.finish(&mut pieces);
            }
        }
        if self.inside {
            self.release(&mut pieces);
        }
        pieces
    }

    /// Nothing has come for a while: what might have become a mark is not one.
    pub(crate) fn idle(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let complete = HOST_MARKS.iter().chain([&RUN_MARK]).any(|mark| self.line.starts_with(mark.as_bytes()));
        if self.passing && !complete && !self.line.is_empty() {
            self.inside = true;
            self.release(&mut pieces);
        }
        pieces
    }

    /// The line ends here.
    fn finish(&mut self, pieces: &mut Vec<Piece>) {
        if self.inside || (self.passing && !may_be_marked(&self.line)) {
            self.release(pieces);
        } else {
            let text = String::from_utf8_lossy(&self.line);
            pieces.push(classify(text.trim_end_matches(['\r', '\n'])));
            self.line.clear();
        }
        self.inside = false;
    }

    /// Hands the bytes out that are held back.
    fn release(&mut self, pieces: &mut Vec<Piece>) {
        let bytes = std::mem::take(&mut self.line);
        match pieces.last_mut() {
            Some(Piece::Bytes(before)) => before.extend(bytes),
            _ if !bytes.is_empty() => pieces.push(Piece::Bytes(bytes)),
            _ => {}
        }
    }
}

/// Whether a line that begins so is, or may become, one with a mark.
fn may_be_marked(start: &[u8]) -> bool {
    HOST_MARKS.iter().chain([&RUN_MARK]).any(|mark| {
        let length = start.len().min(mark.len());
        start[..length] == mark.as_bytes()[..length]
    })
}

fn classify(line: &str) -> Piece {
    if let Some(text) = HOST_MARKS.iter().find_map(|mark| line.strip_prefix(mark)) {
        return Piece::Line(Source::Host, text.into());
    }
    let named = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    if let Some((name, text)) = named
        && name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
    {
        let text = text.strip_prefix(' ').unwrap_or(text).trim_end_matches('\r');
        return Piece::Line(Source::Guest(name.into()), text.into());
    }
    Piece::Line(Source::Plain, line.into())
}

#[cfg(test)]
mod tests {
    use super::{Decoder, Piece, Source};

    fn line(source: Source, text: &str) -> Piece {
        Piece::Line(source, text.into())
    }

    #[test]
    fn lines_know_their_source() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"SeaBIOS\r\n(pv) he"), [line(Source::Plain, "SeaBIOS")]);
        assert_eq!(
            decoder.push(b"llo\r\n[web-1] \r\n[web-1] @run ready\r\n[    0.1] Linux\n"),
            [
                line(Source::Host, "hello"),
                line(Source::Guest("web-1".into()), ""),
                line(Source::Guest("web-1".into()), "@run ready"),
                line(Source::Plain, "[    0.1] Linux"),
            ]
        );
    }

    #[test]
    fn a_passed_console_keeps_its_bytes() {
        let mut decoder = Decoder::default();
        decoder.pass_through();
        assert_eq!(decoder.push(b"~ # "), [Piece::Bytes(b"~ # ".to_vec())]);
        assert_eq!(
            decoder.push(b"ls\r\nbin\r\n(pv) note\r\n(p"),
            [Piece::Bytes(b"ls\r\nbin\r\n".to_vec()), line(Source::Host, "note")]
        );
        assert_eq!(decoder.idle(), [Piece::Bytes(b"(p".to_vec())]);
        assert_eq!(decoder.push(b"v) no\n"), [Piece::Bytes(b"v) no\n".to_vec())]);
        assert_eq!(decoder.push(b"@run exit 7\r\n"), [line(Source::Plain, "@run exit 7")]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut decoder = Decoder::default();
        let pieces = decoder.push(&vec![b'x'; 200_000]);
        assert_eq!(pieces.len(), 3);
    }
}
