"""The same routes as most people would deploy them."""
