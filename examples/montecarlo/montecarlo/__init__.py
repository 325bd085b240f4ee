"""Monte Carlo pricing of a portfolio of equity index options, as three batch actions: split, price, report."""
