//! Demultiplexes the serial line: lines by their source, and the raw bytes of an interactive guest.

/// Source of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The hypervisor's own log.
    Host,
    /// A guest's console, multiplexed with its name as prefix.
    Guest(String),
    /// Unmarked: a console that has the line to itself, or the firmware.
    Plain,
}

/// A piece of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A whole line without its terminator.
    Line(Source, String),
    /// Bytes of a console that is passed through.
    Bytes(Vec<u8>),
}

/// Prefixes of the hypervisors' own lines.
const HOST_MARKS: [&str; 2] = ["(pv) ", "(XEN) "];

/// Prefix of lines that the ramdisk sends to xtask.
pub(crate) const RUN_MARK: &str = "@run ";

/// Longer lines are cut; everything that is parsed is shorter.
const MAX_LINE: usize = 64 * 1024;

/// Splits the bytes of a serial line into pieces.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    /// Whether bytes outside the marked lines are passed through.
    passing: bool,
    /// Whether the rest of the current line is passed through.
    inside: bool,
}

impl Decoder {
    /// Switches to passing the console's bytes through, except lines of the hypervisor and of the
    /// ramdisk.
    pub(crate) fn pass_through(&mut self) {
        self.passing = true;
    }

    /// Adds input.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for &byte in bytes {
            self.line.push(byte);
            if byte == b'\n' {
                self.finish(&mut pieces);
            } else if self.passing && !self.inside {
                self.inside = !may_be_marked(&self.line);
            }
            if self.line.len() >= MAX_LINE {
                self.finish(&mut pieces);
            }
        }
        if self.inside {
            self.release(&mut pieces);
        }
        pieces
    }

    /// Handles a pause: an incomplete mark is passed through.
    pub(crate) fn idle(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let complete = HOST_MARKS.iter().chain([&RUN_MARK]).any(|mark| self.line.starts_with(mark.as_bytes()));
        if self.passing && !complete && !self.line.is_empty() {
            self.inside = true;
            self.release(&mut pieces);
        }
        pieces
    }

    /// Handles the end of a line.
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

    /// Passes on the bytes that are held back.
    fn release(&mut self, pieces: &mut Vec<Piece>) {
        let bytes = std::mem::take(&mut self.line);
        match pieces.last_mut() {
            Some(Piece::Bytes(before)) => before.extend(bytes),
            _ if !bytes.is_empty() => pieces.push(Piece::Bytes(bytes)),
            _ => {}
        }
    }
}

/// Whether a line with this start has a mark, or may get one.
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
