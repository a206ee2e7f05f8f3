//! What the commands do that look after the database, and how they show it.

pub mod database;
pub mod listing;
pub mod reload;
pub mod rows;
