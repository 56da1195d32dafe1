//! Where the modules of a crate do not keep to their layers, each finding with its place and the
//! way to resolve it.

use std::collections::BTreeMap;

use super::declaration::{Permit, Section};
use crate::source::graph::{Arrow, Graph, Place, ROOT};

/// All findings about a section, each on one line that begins with `file:line`.
pub(super) fn find(section: &Section, graph: &Graph) -> Vec<String> {
    let mut findings = unnamed_modules(section, graph);
    findings.extend(missing_modules(section, graph));
    findings.extend(climbing_arrows(section, graph));
    findings.extend(section.permits.iter().filter_map(|permit| unneeded(section, graph, permit)));
    findings
}

fn unnamed_modules(section: &Section, graph: &Graph) -> Vec<String> {
    let unnamed = graph.modules.iter().filter(|(module, _)| section.level(module).is_none());
    let finding = |(module, place): (&String, &Place)| {
        format!("{place}: no layer names the module {module}: add it to a line of [{}] in layers.txt", section.name)
    };
    unnamed.map(finding).collect()
}

fn missing_modules(section: &Section, graph: &Graph) -> Vec<String> {
    let named = section.layers.iter().flat_map(|layer| layer.modules.iter().map(move |module| (layer, module)));
    named
        .filter(|(_, module)| !graph.modules.contains_key(*module))
        .map(|(layer, module)| {
            let (line, name) = (layer.line, &section.name);
            format!("layers.txt:{line}: {name} has no module {module}: remove or rename it in '{}'", layer.name)
        })
        .collect()
}

fn climbing_arrows(section: &Section, graph: &Graph) -> Vec<String> {
    let named = |arrow: &Arrow| section.level(&arrow.0).is_some() && section.level(&arrow.1).is_some();
    let mut by_place: BTreeMap<(&Place, &Arrow), String> = BTreeMap::new();
    for (arrow, places) in &graph.arrows {
        let advice = if arrow.1 == ROOT {
            "move what it uses out of the root file into a module below".to_owned()
        } else if named(arrow) && !section.runs_down(arrow) && section.permit(arrow).is_none() {
            climb(section, arrow)
        } else {
            continue;
        };
        for place in places {
            let finding = format!("{place}: {} uses {}: {advice}", arrow.0, arrow.1);
            by_place.insert((place, arrow), finding);
        }
    }
    by_place.into_values().collect()
}

/// How an arrow breaks the order, and what to do about it.
fn climb(section: &Section, arrow: &Arrow) -> String {
    let layer = |module: &str| section.level(module).map_or("", |level| &section.layers[level].name);
    let (from, to) = (layer(&arrow.0), layer(&arrow.1));
    let order = if from == to {
        format!("both are in the layer '{from}'")
    } else {
        format!("the layer '{to}' is above '{from}'")
    };
    format!("{order}: move what they share below both, or have the caller pass it in")
}

fn unneeded(section: &Section, graph: &Graph, permit: &Permit) -> Option<String> {
    let (from, to) = &permit.arrow;
    let why = if !graph.arrows.contains_key(&permit.arrow) {
        format!("{from} does not use {to}")
    } else if section.runs_down(&permit.arrow) {
        format!("{from} -> {to} runs down")
    } else {
        return None;
    };
    let kind = if permit.is_hub { "hub arrow" } else { "exception" };
    Some(format!("layers.txt:{}: this {kind} is not needed: {why}: remove it", permit.line))
}
