"""The operator API: an HTTP server of its own, behind a bearer token, every act written down."""
