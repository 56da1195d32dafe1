//! The contents of the screen as characters: a terminal with the features that a log needs. Writing
//! changes memory only. [`Terminal::draw`] finds the cells that differ from the screen, so that
//! scrolling is cheap for the writer.

/// The maximum number of cells of a screen.
pub(crate) const MAX_CELLS: usize = 16 * 1024;

/// A value that no cell contains: the screen's content is unknown.
const UNKNOWN: u8 = 0;
const TAB: usize = 8;
/// Number of cells that are compared, and drawn if necessary, between two checks of the budget.
const CELLS_PER_CHECK: usize = 8;

/// State of the parser of escape sequences, which are dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sequence {
    Outside,
    /// After ESC.
    Escape,
    /// After ESC `[`.
    Control,
    /// After ESC `]`, until BEL or the next ESC.
    Text,
}

/// Rows of characters, and a copy of the characters that the screen shows.
pub(crate) struct Terminal {
    columns: usize,
    rows: usize,
    /// Index in `cells` of the top row.
    top: usize,
    column: usize,
    row: usize,
    sequence: Sequence,
    /// By position, which rotates when the terminal scrolls.
    cells: [u8; MAX_CELLS],
    /// By rows of the screen.
    shown: [u8; MAX_CELLS],
    /// The cell from which drawing continues.
    next: usize,
    /// Text was written since drawing last started at the first cell.
    changed: bool,
}

impl Terminal {
    /// A terminal without cells.
    pub(crate) const fn new() -> Self {
        Self {
            columns: 0,
            rows: 0,
            top: 0,
            column: 0,
            row: 0,
            sequence: Sequence::Outside,
            cells: [b' '; MAX_CELLS],
            shown: [UNKNOWN; MAX_CELLS],
            next: 0,
            changed: false,
        }
    }

    /// Clears the terminal and sets its size, limited by the number of cells.
    pub(crate) fn set_size(&mut self, columns: usize, rows: usize) {
        self.columns = columns.clamp(1, MAX_CELLS);
        self.rows = rows.clamp(1, MAX_CELLS / self.columns);
        (self.top, self.column, self.row) = (0, 0, 0);
        self.cells.fill(b' ');
        self.forget_shown();
    }

    /// Columns and rows.
    #[cfg(test)]
    const fn size(&self) -> (usize, usize) {
        (self.columns, self.rows)
    }

    /// Column and row of the next character.
    pub(crate) fn cursor(&self) -> (usize, usize) {
        (self.column.min(self.columns.saturating_sub(1)), self.row)
    }

    /// Becomes a copy of another terminal of the same size, with nothing shown yet.
    pub(crate) fn copy(&mut self, other: &Self) {
        (self.columns, self.rows, self.top) = (other.columns, other.rows, other.top);
        (self.column, self.row, self.sequence) = (other.column, other.row, Sequence::Outside);
        self.cells.copy_from_slice(&other.cells);
        self.forget_shown();
    }

    /// Marks the screen's contents as unknown, after another driver has drawn on it.
    pub(crate) fn forget_shown(&mut self) {
        self.shown.fill(UNKNOWN);
        self.next = 0;
        self.changed = true;
    }

    /// Writes text.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.columns != 0 {
            self.changed = true;
            bytes.iter().for_each(|&byte| self.put(byte));
        }
    }

    fn put(&mut self, byte: u8) {
        if byte == b'\n' {
            self.sequence = Sequence::Outside;
            return self.new_line();
        }
        self.sequence = match (self.sequence, byte) {
            (Sequence::Outside | Sequence::Text, 0x1b) => Sequence::Escape,
            (Sequence::Outside, _) => return self.put_plain(byte),
            (Sequence::Escape, b'[') => Sequence::Control,
            (Sequence::Escape, b']') => Sequence::Text,
            (Sequence::Escape, b' '..=b'/') => Sequence::Escape,
            (Sequence::Control, b' '..=b'?') => Sequence::Control,
            (Sequence::Escape | Sequence::Control, _) | (Sequence::Text, 7) => Sequence::Outside,
            (Sequence::Text, _) => Sequence::Text,
        };
    }

    fn put_plain(&mut self, byte: u8) {
        match byte {
            b'\r' => self.column = 0,
            8 => self.column = self.column.saturating_sub(1),
            b'\t' => self.column = ((self.column / TAB + 1) * TAB).min(self.columns),
            b' '..=b'~' => self.put_character(byte),
            // The first byte of a UTF-8 character; there is no glyph for it.
            0xc0.. => self.put_character(b'?'),
            _ => {}
        }
    }

    fn put_character(&mut self, character: u8) {
        if self.column >= self.columns {
            self.new_line();
        }
        let place = self.place(self.row) + self.column;
        self.cells[place] = character;
        self.column += 1;
    }

    fn new_line(&mut self) {
        self.column = 0;
        if self.row + 1 < self.rows {
            self.row += 1;
            return;
        }
        self.top = (self.top + 1) % self.rows;
        let start = self.place(self.row);
        self.cells[start..start + self.columns].fill(b' ');
    }

    /// Index in `cells` of the first cell of a row.
    const fn place(&self, row: usize) -> usize {
        (self.top + row) % self.rows * self.columns
    }

    /// Passes the cells that must be drawn to `put`: row, column, character. Continues where it
    /// stopped, until all is shown or `may_continue`, called every few cells, returns false.
    /// Returns whether all is shown.
    pub(crate) fn draw(
        &mut self,
        mut may_continue: impl FnMut() -> bool,
        mut put: impl FnMut(usize, usize, u8),
    ) -> bool {
        let count = self.columns * self.rows;
        while self.changed || self.next != 0 {
            self.changed &= self.next != 0;
            while self.next < count {
                if self.next.is_multiple_of(CELLS_PER_CHECK) && !may_continue() {
                    // At the first cell, drawing has not started.
                    self.changed |= self.next == 0;
                    return false;
                }
                let (row, column) = (self.next / self.columns, self.next % self.columns);
                let character = self.cells[self.place(row) + column];
                if self.shown[self.next] != character {
                    self.shown[self.next] = character;
                    put(row, column, character);
                }
                self.next += 1;
            }
            self.next = 0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::string::String;
    use std::vec::Vec;

    /// A terminal, and a screen with the drawn cells.
    struct Pair {
        terminal: Box<Terminal>,
        screen: Vec<u8>,
        drawn: usize,
    }

    impl Pair {
        fn new(columns: usize, rows: usize) -> Self {
            let mut terminal = Box::new(Terminal::new());
            terminal.set_size(columns, rows);
            Self { terminal, screen: std::vec![b'#'; columns * rows], drawn: 0 }
        }

        fn draw(&mut self, mut budget: usize) -> bool {
            let (columns, _) = self.terminal.size();
            let go_on = || {
                budget = budget.saturating_sub(1);
                budget > 0
            };
            self.terminal.draw(go_on, |row, column, character| {
                self.screen[row * columns + column] = character;
                self.drawn += 1;
            })
        }

        fn shows(&mut self, text: &[u8]) -> Vec<String> {
            self.terminal.write(text);
            assert!(self.draw(usize::MAX));
            let rows = self.screen.chunks(self.terminal.size().0);
            rows.map(|row| String::from_utf8_lossy(row).trim_end().into()).collect()
        }
    }

    #[test]
    fn lines_wrap_and_scroll() {
        let mut pair = Pair::new(5, 3);
        assert_eq!(pair.shows(b"abc\nde"), ["abc", "de", ""]);
        assert_eq!(pair.shows(b"fghij"), ["abc", "defgh", "ij"]);
        assert_eq!(pair.shows(b"\n"), ["defgh", "ij", ""]);
        assert_eq!(pair.shows(b"k"), ["defgh", "ij", "k"]);
        // A full line does not scroll until another character follows.
        assert_eq!(pair.shows(b"lmno"), ["defgh", "ij", "klmno"]);
        assert_eq!(pair.shows(b"\n"), ["ij", "klmno", ""]);
        assert_eq!(pair.terminal.cursor(), (0, 2));
    }

    #[test]
    fn controls_move_and_sequences_vanish() {
        let mut pair = Pair::new(20, 2);
        assert_eq!(pair.shows(b"10%\r20%\x1b[1;31m red\x1b[0m"), ["20% red", ""]);
        assert_eq!(pair.shows(b"\rab\x08c\td\x1b]0;title\x07e"), ["ac% red de", ""]);
        assert_eq!(pair.shows(b"\n\x1b(Bx\xc3\xa9\x00\x7f\x1b[31\ny"), ["x?", "y"]);
        let mut small = Pair::new(3, 1);
        assert_eq!(small.shows(b"\t\t\x08\x08\x08\x08z"), ["z"]);
    }

    #[test]
    fn only_what_differs_is_drawn_and_never_more_than_the_budget_allows() {
        let mut pair = Pair::new(64, 16);
        pair.shows(b"first\n");
        pair.drawn = 0;
        pair.shows(b"second\n");
        assert_eq!(pair.drawn, 6);
        // All cells change, a few at a time, while more is written.
        pair.terminal.write(&[b'x'; 64 * 16]);
        pair.drawn = 0;
        assert!(!pair.draw(3));
        assert_eq!(pair.drawn, 2 * CELLS_PER_CHECK);
        pair.terminal.write(b"\rlast");
        while !pair.draw(4) {}
        assert!(pair.shows(b"").last().is_some_and(|row| row.starts_with("lastx")));
    }

    #[test]
    fn drawing_that_had_no_time_to_start_is_done_later() {
        let mut pair = Pair::new(8, 2);
        pair.shows(b"");
        pair.terminal.write(b"x");
        assert!(!pair.draw(0));
        assert!(!pair.draw(0), "it is still to be drawn");
        assert_eq!(pair.shows(b""), ["x", ""]);
    }

    #[test]
    fn a_size_beyond_all_cells_is_cut() {
        let mut terminal = Box::new(Terminal::new());
        terminal.write(b"nothing to write on\n");
        terminal.set_size(usize::MAX, 0);
        assert_eq!(terminal.size(), (MAX_CELLS, 1));
        terminal.set_size(300, 300);
        assert_eq!(terminal.size(), (300, 54));
        terminal.write(&b"0123456789\n".repeat(1000));
        assert!(terminal.draw(|| true, |row, column, _| assert!(row < 54 && column < 300)));
    }

    #[test]
    fn a_copy_shows_the_same() {
        let mut pair = Pair::new(8, 2);
        pair.shows(b"one\ntwo\nthree");
        let mut copy = Pair::new(8, 2);
        copy.terminal.copy(&pair.terminal);
        assert_eq!(copy.shows(b"!"), ["two", "three!"]);
    }
}
