//! The layers as an SVG picture: a row for each layer, a box for each module, a line for each
//! arrow. Arrows that run up are drawn in colour, on top of the others.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::Layered;
use crate::source::graph::Arrow;

const WIDTH: usize = 1000;
const MARGIN: usize = 16;
/// The column with the names of the layers.
const NAMES: usize = 190;
const TITLE: usize = 40;
const ROW: usize = 52;
const BOX_HEIGHT: usize = 26;
const BOX_GAP: usize = 14;
/// Width of a letter of the boxes' font, and what a box has beside its text.
const LETTER: usize = 8;
const BOX_PADDING: usize = 18;

/// Where the rows begin in turn, in hundredths of the gap between their boxes.
const SHIFTS: [usize; 4] = [100, 50, 145, 75];

const DOWN: &str = "#9aa7b4";
const EXCEPTION: &str = "#c0392b";
const HUB: &str = "#2471a3";

const STYLE: &str = "text{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#1f2933}\
    .title{font-weight:bold;font-size:15px}.layer{fill:#52606d}.figures{fill:#52606d;font-size:12px}\
    .row{fill:#f3f5f7}.box{fill:#fff;stroke:#7b8794}.arrow{fill:none;stroke-width:1}";

/// The left edge, the top and the width of a box.
#[derive(Clone, Copy, Debug)]
struct Rectangle {
    left: usize,
    top: usize,
    width: usize,
}

impl Rectangle {
    fn middle(self) -> usize {
        self.left + self.width / 2
    }
}

/// Draws the crates one below the other. Sections about one module of a crate are left out.
pub(super) fn draw(crates: &[Layered]) -> String {
    let mut body = String::new();
    let mut top = MARGIN;
    for layered in crates.iter().filter(|layered| !layered.section.name.contains("::")) {
        // Writing to a string does not fail.
        let _ = draw_crate(&mut body, layered, top);
        top += TITLE + layered.section.layers.len() * ROW + MARGIN;
    }
    let markers: String = [("down", DOWN), ("exception", EXCEPTION), ("hub", HUB)].iter().map(marker).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" width=\"{WIDTH}\" height=\"{top}\">\n\
         <title>Layers of the crates</title>\n<style>{STYLE}</style>\n<defs>\n{markers}</defs>\n\
         <rect width=\"{WIDTH}\" height=\"{top}\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

fn marker((name, colour): &(&str, &str)) -> String {
    format!(
        "<marker id=\"{name}\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"6\" markerHeight=\"6\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"{colour}\"/></marker>\n"
    )
}

fn draw_crate(body: &mut String, layered: &Layered, top: usize) -> fmt::Result {
    let figures = layered.figures();
    let name = &layered.section.name;
    writeln!(body, "<text class=\"title\" x=\"{MARGIN}\" y=\"{}\">{name}</text>", top + 20)?;
    let up = match (figures.upward, figures.hub) {
        (0, 0) => "all run down".to_owned(),
        (upward, 0) => format!("{upward} upward (red)"),
        (upward, hub) => format!("{upward} upward (red), {hub} of the hub (blue)"),
    };
    let text = format!("{} modules, {} arrows: {up}", figures.modules, figures.arrows);
    writeln!(body, "<text class=\"figures\" x=\"{NAMES}\" y=\"{}\">{text}</text>", top + 20)?;
    let mut boxes = BTreeMap::new();
    for (number, layer) in layered.section.layers.iter().enumerate() {
        let top = top + TITLE + number * ROW;
        let (width, height) = (WIDTH - 2 * MARGIN, ROW - 24);
        let row = format!("x=\"{MARGIN}\" y=\"{}\" width=\"{width}\" height=\"{height}\" rx=\"3\"", top - 4);
        writeln!(body, "<rect class=\"row\" {row}/>")?;
        let (left, name) = (MARGIN + 8, &layer.name);
        writeln!(body, "<text class=\"layer\" x=\"{left}\" y=\"{}\">{name}</text>", top + 17)?;
        boxes.extend(place_row(&layer.modules, top, number));
    }
    let is_down = |arrow: &&Arrow| layered.section.runs_down(arrow);
    let (down, up): (Vec<&Arrow>, Vec<&Arrow>) = layered.graph.arrows.keys().partition(is_down);
    for arrow in down {
        draw_arrow(body, &boxes, arrow, "down", DOWN)?;
    }
    for (module, place) in &boxes {
        draw_box(body, module, *place)?;
    }
    for arrow in up {
        let (kind, colour) = if layered.is_hub(arrow) { ("hub", HUB) } else { ("exception", EXCEPTION) };
        draw_arrow(body, &boxes, arrow, kind, colour)?;
    }
    Ok(())
}

/// The boxes of row `number`. Each row is shifted against its neighbours, so that lines between
/// rows that are not neighbours pass beside the boxes of the rows between.
fn place_row(modules: &[String], top: usize, number: usize) -> Vec<(String, Rectangle)> {
    let width = |module: &String| module.len() * LETTER + BOX_PADDING;
    let boxes: usize = modules.iter().map(width).sum();
    let free = (WIDTH - NAMES - 2 * MARGIN).saturating_sub(boxes);
    let gap = (free / (modules.len() + 1)).max(BOX_GAP);
    let shift = gap * SHIFTS[number % SHIFTS.len()] / 100;
    let mut left = NAMES + shift;
    let mut placed = Vec::new();
    for module in modules {
        placed.push((module.clone(), Rectangle { left, top, width: width(module) }));
        left += width(module) + gap;
    }
    placed
}

fn draw_box(body: &mut String, module: &str, place: Rectangle) -> fmt::Result {
    let Rectangle { left, top, width } = place;
    let size = format!("width=\"{width}\" height=\"{BOX_HEIGHT}\" rx=\"3\"");
    writeln!(body, "<rect class=\"box\" x=\"{left}\" y=\"{top}\" {size}/>")?;
    let (x, y) = (place.middle(), top + 17);
    writeln!(body, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{module}</text>")
}

fn draw_arrow(
    body: &mut String,
    boxes: &BTreeMap<String, Rectangle>,
    arrow: &Arrow,
    kind: &str,
    colour: &str,
) -> fmt::Result {
    let (Some(from), Some(to)) = (boxes.get(&arrow.0), boxes.get(&arrow.1)) else { return Ok(()) };
    let (x1, x2) = (from.middle(), to.middle());
    let (y1, y2) = match from.top.cmp(&to.top) {
        Ordering::Less => (from.top + BOX_HEIGHT, to.top),
        Ordering::Greater => (from.top, to.top + BOX_HEIGHT),
        Ordering::Equal => (from.top + BOX_HEIGHT, to.top + BOX_HEIGHT),
    };
    // Control points a third of the way up or down, or below both boxes of the same row.
    let (c1, c2) = if y1 == y2 { (y1 + BOX_HEIGHT, y2 + BOX_HEIGHT) } else { ((2 * y1 + y2) / 3, (y1 + 2 * y2) / 3) };
    let path = format!("M{x1} {y1}C{x1} {c1} {x2} {c2} {x2} {y2}");
    let opacity = if kind == "down" { "0.45" } else { "0.9" };
    let marker = format!("marker-end=\"url(#{kind})\"");
    writeln!(body, "<path class=\"arrow\" d=\"{path}\" stroke=\"{colour}\" opacity=\"{opacity}\" {marker}/>")
}
