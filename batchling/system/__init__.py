"""What Python and the operating system do under us: the loop thread, forks, clocks, interrupts."""
