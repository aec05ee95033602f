"""The sending side: takes events in, delivers, settles; serves no HTTP. Imports schema, signer."""
