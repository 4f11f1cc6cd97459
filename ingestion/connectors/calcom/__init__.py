"""Cal.com: bookings that people make with reps."""
