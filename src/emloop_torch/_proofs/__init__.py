"""What is known of a program: that it does what the module does, and will do so while it is trained further."""
