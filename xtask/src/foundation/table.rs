//! Tables of figures in Markdown.

use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Style};

/// Formats a table. The first column is aligned to the left, all others to the right.
pub(crate) fn markdown(table: Builder) -> String {
    let mut table = table.build();
    table.with(Style::markdown()).modify(Columns::new(1..), Alignment::right());
    table.to_string()
}
