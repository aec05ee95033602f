"""The sending side: takes events in, delivers, settles. Serves no HTTP. May import schema and signer."""
