"""The zoo: small models of many architectures, written as their users write them."""
