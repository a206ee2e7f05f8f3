//! What the commands do that look after the database or ask a running gateway, and how they show it.

pub mod ask;
pub mod database;
pub mod drain;
pub mod listing;
pub mod reload;
pub mod rows;
