//! The command line, as a program.

mod doctor;
mod fixture;
mod looks;
mod moves;
mod past;
mod terminal;
mod usage;
