//! The results as a picture: for each row the overhead of each configuration over the bare machine,
//! as a fraction of Xen's overhead.

use super::configuration::Configuration;
use super::figures::{Figures, INSTRUCTIONS};

const LEFT: f64 = 140.0;
const WIDTH: f64 = 480.0;
const BAR: f64 = 9.0;
const LINE: f64 = 30.0;
const TOP: f64 = 44.0;
/// The largest fraction that is drawn to scale.
const MOST: f64 = 1.2;
/// The fraction that Paravane should stay below.
const TARGET: f64 = 0.5;
const COLOURS: [(Configuration, &str); 2] =
    [(Configuration::ParavaneDom0, "#8fb8de"), (Configuration::ParavaneGuest, "#1f5f99")];

/// Draws the fractions as SVG.
pub(super) fn draw(figures: &Figures) -> String {
    let rows: Vec<&str> = figures
        .rows(INSTRUCTIONS)
        .into_iter()
        .filter(|row| {
            COLOURS.iter().any(|(configuration, _)| figures.share(row, *configuration, INSTRUCTIONS).is_some())
        })
        .collect();
    let height = TOP + LINE * rows.len() as f64 + 12.0;
    let across = |share: f64| LEFT + WIDTH * share.clamp(0.0, MOST) / MOST;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{height}\" viewBox=\"0 0 {0} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"16\">instructions over the bare machine, as a share of what Xen 4.17 takes over it</text>\n",
        LEFT + WIDTH + 60.0
    );
    let mut draw = |line: String| {
        svg.push_str(&line);
        svg.push('\n');
    };
    for (at, (configuration, colour)) in (0..).zip(COLOURS) {
        let x = LEFT + 130.0 * f64::from(at);
        draw(format!("<rect x=\"{x}\" y=\"24\" width=\"10\" height=\"10\" fill=\"{colour}\"/>"));
        draw(format!("<text x=\"{}\" y=\"33\">{configuration}</text>", x + 14.0));
    }
    for (share, dashes) in [(TARGET, "4 3"), (1.0, "none")] {
        let x = across(share);
        let bottom = height - 8.0;
        draw(format!(
            "<line x1=\"{x}\" y1=\"{TOP}\" x2=\"{x}\" y2=\"{bottom}\" stroke=\"#888\" stroke-dasharray=\"{dashes}\"/>"
        ));
    }
    for (index, row) in (0..).zip(&rows) {
        let y = TOP + LINE * f64::from(index);
        draw(format!("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{row}</text>", LEFT - 8.0, y + 15.0));
        for (at, (configuration, colour)) in (0..).zip(COLOURS) {
            let Some(share) = figures.share(row, configuration, INSTRUCTIONS) else { continue };
            let (top, end) = (y + 3.0 + BAR * f64::from(at), across(share));
            draw(format!(
                "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{}\" height=\"{BAR}\" fill=\"{colour}\"/>",
                end - LEFT
            ));
            draw(format!("<text x=\"{}\" y=\"{}\" font-size=\"9\">{share:.2}</text>", end + 3.0, top + 8.0));
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::draw;
    use crate::commands::bench::Configuration;
    use crate::commands::bench::figures::Figures;

    #[test]
    fn rows_without_a_rival_are_not_drawn() {
        let mut figures = Figures::default();
        for (row, configuration, cost) in [
            ("a", Configuration::Bare, 1),
            ("a", Configuration::XenGuest, 11),
            ("a", Configuration::ParavaneGuest, 5),
            ("b", Configuration::ParavaneGuest, 5),
        ] {
            figures.add(row, configuration, cost);
        }
        let svg = draw(&figures);
        assert!(svg.contains(">0.40<") && svg.contains(">a<") && !svg.contains(">b<"), "{svg}");
    }
}
