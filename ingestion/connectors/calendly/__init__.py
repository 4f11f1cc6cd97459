"""Calendly: bookings that people make with reps."""
