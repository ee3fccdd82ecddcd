"""Results in the tools that teams have already: a file for each library, which nothing else imports."""
