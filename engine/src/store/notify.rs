//! Whom the watchdog tells, and what it has told.

use crate::contract::layout::Layout;
use crate::contract::notify::{Notify, Told};
use crate::error::{Error, Result};
use crate::model::is_url;
use crate::os::{env, fs};
use crate::store::project::Project;

/// Writes down whom this project wants told; where that is nobody, that nobody is. A webhook that stands in a variable is looked up now. What is wrong with that is
/// answered in words: it keeps no agent from starting.
pub(crate) fn write(project: &Project) -> Result<Option<String>> {
    let path = project.layout.notify();
    let Some(notify) = &project.config.notify else {
        fs::remove_file(&path)?;
        return Ok(None);
    };
    let mut notify = Notify { folder: project.folder.clone(), ..notify.clone() };
    let mut wrong = None;
    if let Some(name) = notify.webhook.as_ref().and_then(|url| url.strip_prefix('$')).map(str::to_owned) {
        // Started by a timer, a unit or an agent, it may not be there; what a person gave once goes on to be right.
        let before = read(&project.layout).and_then(|before| before.webhook);
        (notify.webhook, wrong) = match (env::text(&name), before) {
            (Some(url), _) if is_url(&url) => (Some(url), None),
            (Some(_), _) => (
                None,
                Some(format!("the variable {name} holds neither an https URL nor an http one of this machine, so nothing is posted")),
            ),
            (None, Some(before)) => (Some(before), None),
            (None, None) => (None, Some(format!("the variable {name} is not set, so nothing is posted"))),
        };
    }
    let json = serde_json::to_vec_pretty(&notify).map_err(|e| Error::failed(e.to_string()))?;
    if fs::read_if_there(&path)?.is_none_or(|now| now.as_bytes() != json) {
        fs::write_atomic(&path, &json, 0o600)?;
    }
    Ok(wrong.map(|why| format!("[notify] webhook: {why}")))
}

/// Whom to tell. What is damaged tells nobody; the next `up` writes it anew.
pub(crate) fn read(layout: &Layout) -> Option<Notify> {
    serde_json::from_str(&fs::read_if_there(&layout.notify()).ok()??).ok()
}

/// What was told; nothing where that cannot be read.
pub(crate) fn told(layout: &Layout) -> Told {
    fs::read_if_there(&layout.told()).ok().flatten().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

pub(crate) fn write_told(layout: &Layout, told: &Told) -> std::io::Result<()> {
    fs::write_atomic(&layout.told(), &serde_json::to_vec(told)?, 0o600)
}
