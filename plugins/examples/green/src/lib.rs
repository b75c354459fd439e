//! The first policy of `plugins/README.md`: clean power first, as far as it is worth its price.

berth_sdk::config! {
    /// How much clean power is worth.
    pub struct Config {
        /// USD that one gram of CO2 may cost.
        usd_per_gram: f64 = 0.0001,
    }
}

berth_sdk::scoring! {
    name: "green",
    doc: "Prefers clusters whose power is clean, as far as that is worth its price",
    needs: ["carbon"],
    config: Config,
    score: |config, candidate| {
        let carbon = candidate.extra("carbon")?;
        Some(-(candidate.price() + config.usd_per_gram * carbon))
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use berth_sdk::testing::Case;

    use super::Policy;

    fn case() -> Case {
        Case::new(4)
            .cluster("coal", |coal| coal.elastic(9).price(1.00).extra("carbon", 700.0))
            .cluster("wind", |wind| wind.elastic(3).price(1.05).extra("carbon", 20.0))
            .cluster("unknown", |unknown| unknown.ready(9))
    }

    #[test]
    fn clean_power_is_worth_a_little_more() {
        let placed = case().place::<Policy>("{}").unwrap();
        assert_eq!((placed.at("wind"), placed.at("coal"), placed.at("unknown")), (3, 1, 0));
        assert_eq!(placed.term("wind", "score"), Some(-1.052));
    }

    #[test]
    fn but_not_everything() {
        let placed = case().place::<Policy>(r#"{"usd_per_gram": 0.00001}"#).unwrap();
        assert_eq!((placed.at("coal"), placed.at("wind")), (4, 0));
    }
}
