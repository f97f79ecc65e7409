"""The tests of penjing."""
