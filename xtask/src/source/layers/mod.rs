//! The layers of the crates. `layers.txt` assigns each module to a layer; a module uses modules of
//! lower layers only, except where the file declares a hub or an exception.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::graph::{Arrow, Graph};
use declaration::Section;

mod declaration;
mod findings;
mod picture;

/// The declaration, at the root of the workspace.
const FILE: &str = "layers.txt";

/// A section of `layers.txt` with the modules and arrows that the sources have.
#[derive(Clone, Debug)]
pub(crate) struct Layered {
    section: Section,
    graph: Graph,
}

/// The figures of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figures {
    modules: usize,
    arrows: usize,
    /// Arrows that do not run down, those of the hub left out.
    upward: usize,
    /// Upward arrows of the hub.
    hub: usize,
    /// Groups of modules that reach each other, arrows of the hub left out.
    cycles: usize,
    /// Modules in those groups.
    in_cycles: usize,
}

/// Reads `layers.txt` of the workspace and the crates that it names.
pub(crate) fn read(workspace: &Path) -> Result<Vec<Layered>> {
    let text = fs::read_to_string(workspace.join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
    let layered = |section: Section| {
        let graph = Graph::read(workspace, &section.name, &section.seams)?;
        Ok(Layered { section, graph })
    };
    declaration::parse(&text)?.into_iter().map(layered).collect()
}

/// Where the modules do not keep to their layers; one line for each finding, with its place.
pub(crate) fn findings(crates: &[Layered]) -> Vec<String> {
    crates.iter().flat_map(|layered| findings::find(&layered.section, &layered.graph)).collect()
}

/// The layers, their arrows and figures as text.
pub(crate) fn text(crates: &[Layered]) -> String {
    let mut text = String::new();
    for layered in crates {
        // Writing to a string does not fail.
        let _ = layered.write_text(&mut text);
    }
    text
}

/// The layers as an SVG picture.
pub(crate) fn svg(crates: &[Layered]) -> String {
    picture::draw(crates)
}

/// The layers, arrows and figures as data.
pub(crate) fn data(crates: &[Layered]) -> Value {
    crates.iter().map(Layered::data).collect()
}

impl Layered {
    fn is_hub(&self, arrow: &Arrow) -> bool {
        self.section.permit(arrow).is_some_and(|permit| permit.is_hub)
    }

    fn figures(&self) -> Figures {
        let upward = self.graph.arrows.keys().filter(|arrow| !self.section.runs_down(arrow));
        let (hub, upward): (Vec<&Arrow>, Vec<&Arrow>) = upward.partition(|arrow| self.is_hub(arrow));
        let cycles = self.graph.cycles(|arrow| !self.is_hub(arrow));
        Figures {
            modules: self.graph.modules.len(),
            arrows: self.graph.arrows.len(),
            upward: upward.len(),
            hub: hub.len(),
            cycles: cycles.len(),
            in_cycles: cycles.iter().map(Vec::len).sum(),
        }
    }

    fn write_text(&self, text: &mut String) -> std::fmt::Result {
        let figures = self.figures();
        let Figures { modules, arrows, upward, hub, cycles, in_cycles } = figures;
        writeln!(text, "{}", self.section.name)?;
        for layer in &self.section.layers {
            writeln!(text, "  {}", layer.name)?;
            for module in &layer.modules {
                let all = self.graph.arrows.keys().filter(|arrow| arrow.0 == *module);
                let (down, up): (Vec<&Arrow>, Vec<&Arrow>) = all.partition(|arrow| self.section.runs_down(arrow));
                writeln!(text, "    {module} -> {}", targets(&down))?;
                if !up.is_empty() {
                    writeln!(text, "    {:indent$} UP {}", "", targets(&up), indent = module.len())?;
                }
            }
        }
        let through = if hub > 0 { format!(" and {hub} of the hub") } else { String::new() };
        let within = if cycles > 0 { format!(" with {in_cycles} modules") } else { String::new() };
        writeln!(text, "  {modules} modules, {arrows} arrows, {upward} upward{through}, {cycles} cycles{within}\n")
    }

    fn data(&self) -> Value {
        let figures = self.figures();
        let arrow = |(arrow, places): (&Arrow, &std::collections::BTreeSet<_>)| {
            let permit = self.section.permit(arrow);
            json!({
                "from": arrow.0,
                "to": arrow.1,
                "upward": !self.section.runs_down(arrow),
                "hub": self.is_hub(arrow),
                "reason": permit.map(|permit| &permit.reason),
                "places": places.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        };
        let layers = self.section.layers.iter().map(|layer| json!({ "name": layer.name, "modules": layer.modules }));
        json!({
            "name": self.section.name,
            "layers": layers.collect::<Vec<_>>(),
            "arrows": self.graph.arrows.iter().map(arrow).collect::<Vec<_>>(),
            "cycles": self.graph.cycles(|arrow| !self.is_hub(arrow)),
            "figures": {
                "modules": figures.modules,
                "arrows": figures.arrows,
                "upward": figures.upward,
                "hub": figures.hub,
                "cycles": figures.cycles,
                "modules_in_cycles": figures.in_cycles,
            },
        })
    }
}

fn targets(arrows: &[&Arrow]) -> String {
    arrows.iter().map(|arrow| &*arrow.1).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
