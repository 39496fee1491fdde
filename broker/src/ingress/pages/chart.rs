//! Small charts as SVG: what happened in each of the last seconds.

use std::fmt::Write as _;

use super::html::Html;

/// Height of a chart in its own units.
const HEIGHT: f64 = 40.0;

/// Calls and failures by second, oldest first, as two areas.
#[must_use]
pub fn seconds(all: &[(u64, u64)]) -> Html {
    let most = all.iter().map(|(calls, _)| *calls).max().unwrap_or(0).max(1);
    let total: u64 = all.iter().map(|(calls, _)| calls).sum();
    let failed: u64 = all.iter().map(|(_, failed)| failed).sum();
    Html::of(
        "<svg class=\"chart\" viewBox=\"0 0 {} 40\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">\
         <path class=\"calls\" d=\"{}\"/><path class=\"failures\" d=\"{}\"/></svg>",
        &[
            &all.len(),
            &format!(
                "{total} calls in the last {} seconds, {failed} of them failed; at most {most} in a second",
                all.len()
            ),
            &area(all.iter().map(|(calls, _)| *calls), most),
            &area(all.iter().map(|(_, failed)| *failed), most),
        ],
    )
}

/// The outline of bars that stand side by side.
fn area(values: impl Iterator<Item = u64>, most: u64) -> String {
    let mut path = "M0 40".to_owned();
    for (at, value) in values.enumerate() {
        let top = HEIGHT - (HEIGHT - 1.0) * value as f64 / most as f64;
        // Writing to a string cannot fail.
        let _ = write!(path, "V{top:.1}H{}", at + 1);
    }
    path + "V40H0Z"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_side_by_side() {
        let html = seconds(&[(0, 0), (4, 1), (2, 2)]);
        for part in [
            "0 0 3 40",
            "6 calls in the last 3 seconds, 3 of them failed",
            "d=\"M0 40V40.0H1V1.0H2V20.5H3V40H0Z\"",
        ] {
            assert!(html.as_str().contains(part), "{part} in {}", html.as_str());
        }
        assert!(seconds(&[]).as_str().contains("M0 40V40H0Z"));
    }
}
