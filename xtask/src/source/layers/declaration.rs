//! `layers.txt`: its sections, their layers from the top, the hub, and the exceptions.

use anyhow::{Context, Result, bail, ensure};

use crate::source::graph::Arrow;

/// The layers of one crate, or of one module of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    /// The package's folder, and the path of a module in it if it has one: `xtask::debian`.
    pub(crate) name: String,
    pub(crate) line: usize,
    /// The topmost first.
    pub(crate) layers: Vec<Layer>,
    /// Names through which modules may use what is above them, as a back end.
    pub(crate) seams: Vec<String>,
    /// Arrows that may run up all the same.
    pub(crate) permits: Vec<Permit>,
}

/// A line of modules that do not use each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) modules: Vec<String>,
}

/// An arrow that may run up or sideways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Permit {
    pub(crate) arrow: Arrow,
    /// The arrow comes from the hub; otherwise it is an exception.
    pub(crate) is_hub: bool,
    pub(crate) reason: String,
    pub(crate) line: usize,
}

impl Section {
    /// The position of the module's layer, 0 for the topmost.
    pub(crate) fn level(&self, module: &str) -> Option<usize> {
        self.layers.iter().position(|layer| layer.modules.iter().any(|name| name == module))
    }

    /// Whether the arrow runs down to a lower layer.
    pub(crate) fn runs_down(&self, arrow: &Arrow) -> bool {
        let (from, to) = (self.level(&arrow.0), self.level(&arrow.1));
        from.zip(to).is_some_and(|(from, to)| from < to)
    }

    /// The declaration that lets the arrow run up.
    pub(crate) fn permit(&self, arrow: &Arrow) -> Option<&Permit> {
        self.permits.iter().find(|permit| permit.arrow == *arrow)
    }
}

/// Reads the text of `layers.txt`.
pub(crate) fn parse(text: &str) -> Result<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            sections.push(Section { name: name.trim().into(), line: number, ..Section::default() });
            continue;
        }
        let section = sections.last_mut();
        let section = section.with_context(|| format!("layers.txt:{number}: a '[crate]' line must come first"))?;
        read_line(section, line, number).with_context(|| format!("layers.txt:{number}: '{line}'"))?;
    }
    ensure!(!sections.is_empty(), "layers.txt has no sections: write '[crate]' and its layers");
    Ok(sections)
}

fn read_line(section: &mut Section, line: &str, number: usize) -> Result<()> {
    let (head, tail) = line.split_once(':').context("no colon: write 'layer name: modules'")?;
    let (head, tail) = (head.trim(), tail.trim());
    let Some((from, to)) = head.split_once("->") else {
        if let Some(seam) = head.strip_prefix("seam ") {
            ensure!(!tail.is_empty(), "no reason: write it after the colon");
            section.seams.push(seam.trim().into());
            return Ok(());
        }
        let modules: Vec<String> = tail.split_whitespace().map(str::to_owned).collect();
        ensure!(!modules.is_empty(), "no modules: name them after the colon");
        for module in &modules {
            let named_before = section.level(module).is_some();
            let twice = modules.iter().filter(|other| *other == module).count() > 1;
            ensure!(!named_before && !twice, "{module} is in a layer already: name it once");
        }
        section.layers.push(Layer { name: head.into(), line: number, modules });
        return Ok(());
    };
    ensure!(!tail.is_empty(), "no reason: write it after the colon");
    let (is_hub, from) = match from.trim().split_once(' ') {
        Some(("hub", from)) => (true, from.trim()),
        Some(("except", from)) => (false, from.trim()),
        _ => bail!("write 'except a -> b: reason' or 'hub a -> b c: reason'"),
    };
    let hubs = section.permits.iter().filter(|permit| permit.is_hub);
    ensure!(!is_hub || hubs.count() == 0, "a second hub: a section has one");
    let targets: Vec<&str> = to.split_whitespace().collect();
    ensure!(is_hub || targets.len() == 1, "an exception is one arrow: write a line for each");
    section.permits.extend(targets.into_iter().map(|to| Permit {
        arrow: (from.into(), to.into()),
        is_hub,
        reason: tail.into(),
        line: number,
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sections_have_layers_a_hub_and_exceptions() {
        let text = "# layers\n[core]\ntop half: a b\nbottom: c\nhub c -> a b: its fields\n\
                    except b -> a: to be cut\n[tool::part]\nonly: x\n";
        let sections = parse(text).expect("sections");
        assert_eq!(sections.iter().map(|section| &*section.name).collect::<Vec<_>>(), ["core", "tool::part"]);
        let core = &sections[0];
        assert_eq!((core.level("b"), core.level("c"), core.level("d")), (Some(0), Some(1), None));
        assert!(core.runs_down(&("a".into(), "c".into())) && !core.runs_down(&("a".into(), "b".into())));
        let hubs: Vec<bool> = core.permits.iter().map(|permit| permit.is_hub).collect();
        assert_eq!(hubs, [true, true, false]);
    }

    #[test]
    fn a_malformed_line_is_reported_with_its_number() {
        for (text, expected) in [
            ("top: a\n", "layers.txt:1: a '[crate]' line must come first"),
            ("[core]\ntop: a\nbottom: a\n", "layers.txt:3: 'bottom: a': a is in a layer already"),
            ("[core]\ntop: a\nexcept a -> b:\n", "no reason"),
            ("[core]\ntop: a\nexcept a -> b c: why\n", "an exception is one arrow"),
            ("[core]\nhub a -> b: why\nhub b -> a: why\n", "a second hub"),
            ("[core]\na -> b: why\n", "write 'except a -> b: reason'"),
            ("[core]\ntop a\n", "no colon"),
            ("", "no sections"),
        ] {
            let error = format!("{:#}", parse(text).expect_err(text));
            assert!(error.contains(expected), "{error}");
        }
    }
}
